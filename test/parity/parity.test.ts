import { describe, expect, test } from 'vitest';
import { runParity } from './run.ts';

const results = runParity(new URL('../fixtures/parity', import.meta.url).pathname);

describe('the vectors of the original', () => {
  test.each(results.filter((result) => result.covered))('$file', ({ errors, passed }) => {
    expect(errors).toEqual([]);
    expect(passed).toBeGreaterThan(0);
  });
});
