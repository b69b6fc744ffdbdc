import { execFile } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');

/** Violations planted where the folder overrides of .eslintrc.cjs must bite. */
const planted = [
  [
    'src/core/planted-violation.ts',
    'export const now = (): number => Date.now();\n',
    'no-restricted-properties',
  ],
  ['src/core/planted-import.ts', "export { readFileSync } from 'node:fs';\n", 'no-restricted-imports'],
  [
    'src/parallel/planted-import.ts',
    "export { quote } from '../remote/quote.ts';\n",
    'no-restricted-imports',
  ],
  ['src/parallel/planted-console.ts', "export const say = (): void => console.log('x');\n", 'no-console'],
] as const;

async function lint(files: readonly string[]): Promise<string> {
  const eslint = join(root, 'node_modules/.bin/eslint');
  return new Promise((done) => {
    execFile(
      eslint,
      ['-c', 'tools/eslint.config.mjs', '--no-ignore', ...files],
      { cwd: root },
      (_error, stdout) => done(stdout),
    );
  });
}

describe('lint', () => {
  test('the folder rules bite', { timeout: 60_000 }, async () => {
    try {
      for (const [file, code] of planted) {
        mkdirSync(dirname(join(root, file)), { recursive: true });
        writeFileSync(join(root, file), code);
      }
      const report = await lint(planted.map(([file]) => file));
      for (const [file, , rule] of planted) {
        const section = report.slice(report.indexOf(file)).split('\n\n')[0];
        expect(section, file).toContain(rule);
      }
    } finally {
      for (const [file] of planted) rmSync(join(root, file), { force: true });
    }
  });
});
