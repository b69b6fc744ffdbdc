import { resolve } from 'node:path';
import { defineConfig } from 'vitest/config';

/** Every parser of bytes that come from outside, and how much of it its fuzz reaches. */
export default defineConfig({
  root: resolve(import.meta.dirname, '..'),
  test: {
    include: ['test/fuzz/**/*.test.ts'],
    // `.ci/run` has fewer.
    env: { OPTIMIZER_FUZZ_RUNS: process.env['OPTIMIZER_FUZZ_RUNS'] ?? '10000' },
    testTimeout: 600_000,
    coverage: {
      enabled: true,
      reporter: ['text'],
      include: [
        'src/config/{host-lists,host-syntax,host-selection,toml}.ts',
        'src/runs/{journal-content,entry-schema}.ts',
        'src/benchmarks/*/{parse,stream}.ts',
        'src/remote/{known-hosts,quote}.ts',
      ],
      thresholds: { perFile: true, branches: 90 },
    },
  },
});
