// ESLint 10 dropped .eslintrc.*; this bridge feeds it our .eslintrc.cjs (docs/decisions/0006).
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import js from '@eslint/js';
import { FlatCompat } from '@eslint/eslintrc';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const rules = createRequire(import.meta.url)('../.eslintrc.cjs');
const compat = new FlatCompat({
  baseDirectory: root,
  resolvePluginsRelativeTo: root,
  recommendedConfig: js.configs.recommended,
  allConfig: js.configs.all,
});
export default [
  {
    ignores: [
      'dist/**',
      'coverage/**',
      'result/**',
      'test/fixtures/**',
      '**/*.cjs',
      '**/*.mjs',
      '**/*.js',
      '**/*.json',
      '**/*.md',
    ],
  },
  ...compat.config(rules),
];
