import { resolve } from 'node:path';
import { runParity, type FileResult } from './run.ts';

/** `npm run parity -- DIR [--json]`: replays the vectors of the original in DIR. */

const skippedCount = (result: FileResult): number =>
  Object.values(result.skipped).reduce((sum, n) => sum + n, 0);

function line(result: FileResult): string {
  if (!result.covered) return `${result.file} uncovered`;
  const reasons = Object.entries(result.skipped).map(([reason, n]) => ` ${reason}=${n}`);
  return `${result.file} passed=${result.passed} failed=${result.failed} skipped=${skippedCount(result)}${reasons.join('')}`;
}

const words = process.argv.slice(2).filter((word) => word !== '--');
const json = words.includes('--json');
const directory = words.find((word) => !word.startsWith('-'));
if (directory === undefined) {
  console.error('usage: npm run --silent parity -- DIR [--json]');
  process.exitCode = 2;
} else {
  const results = await runParity(resolve(process.env['INIT_CWD'] ?? '.', directory));
  const sum = (pick: (result: FileResult) => number): number =>
    results.reduce((total, one) => total + pick(one), 0);
  const total = {
    passed: sum((one) => one.passed),
    failed: sum((one) => one.failed),
    skipped: sum(skippedCount),
  };
  for (const result of results) for (const error of result.errors) console.error(error);
  if (json) console.log(JSON.stringify({ files: results, total }, null, 2));
  else {
    for (const result of results) console.log(line(result));
    console.log(`total passed=${total.passed} failed=${total.failed} skipped=${total.skipped}`);
  }
  process.exitCode = total.failed === 0 ? 0 : 1;
}
