import { defineConfig } from 'vitest/config';

const sshd = process.env['OPTIMIZER_TEST_SSHD'] === '1';

/** `npm test` needs neither root nor sshd: suites that do are counted as skipped. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/build.ts'],
    testTimeout: sshd ? 180_000 : 30_000,
    hookTimeout: 60_000,
    fileParallelism: !sshd,
    // Much of it waits for processes: one worker a core, where the default leaves one core out.
    maxWorkers: '100%',
    coverage: {
      include: ['src/**'],
      exclude: ['src/cli/**'],
      thresholds: { 'src/core/**': { branches: 85 } },
    },
  },
});
