import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { adapters } from './adapters.ts';
import type { Case } from './compare.ts';
import { deviations } from './deviations.ts';

export interface FileResult {
  readonly file: string;
  readonly covered: boolean;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: Readonly<Record<string, number>>;
  readonly errors: readonly string[];
}

/** So much of a file may be skipped; these are about code that we do not have, or that was broken throughout. */
const skipLimit = 0.4;
const freelySkipped = ['circuit_breaker.json', 'lifecycle.json', 'build_command.json'];

export async function runFile(directory: string, file: string): Promise<FileResult> {
  const adapter = adapters[file];
  if (adapter === undefined) {
    return { file, covered: false, passed: 0, failed: 0, skipped: {}, errors: [] };
  }
  const { cases } = JSON.parse(readFileSync(join(directory, file), 'utf8')) as { cases: Case[] };
  const skipped: Record<string, number> = {};
  const errors: string[] = [];
  let passed = 0;
  for (const [index, input] of cases.entries()) {
    const deviation = deviations[file]?.find((one) => one.applies(input));
    try {
      if (deviation === undefined) {
        await adapter(input);
        passed++;
      } else {
        await deviation.check(input);
        skipped[deviation.reason] = (skipped[deviation.reason] ?? 0) + 1;
      }
    } catch (error) {
      const what = deviation === undefined ? '' : ` (${deviation.reason})`;
      errors.push(`${file} case ${index}${what}: ${(error as Error).message.slice(0, 600)}`);
    }
  }
  const share = Object.values(skipped).reduce((sum, n) => sum + n, 0) / Math.max(1, cases.length);
  if (share > skipLimit && !freelySkipped.includes(file)) {
    errors.push(`${file}: ${(share * 100).toFixed(0)} % of the cases are skipped`);
  }
  return { file, covered: true, passed, failed: errors.length, skipped, errors };
}

export async function runParity(directory: string): Promise<FileResult[]> {
  if (!existsSync(directory)) throw new Error(`There is no directory ${directory}`);
  const files = readdirSync(directory)
    .filter((file) => file.endsWith('.json'))
    .sort();
  const results: FileResult[] = [];
  for (const file of files) results.push(await runFile(directory, file));
  return results;
}
