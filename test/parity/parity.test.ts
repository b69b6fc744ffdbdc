import { describe, expect, test } from 'vitest';
import { runParity } from './run.ts';

const results = await runParity(new URL('../fixtures/parity', import.meta.url).pathname);

describe('the vectors of the original', () => {
  test.each(results)('$file', ({ covered, errors, passed }) => {
    expect(covered).toBe(true);
    expect(errors).toEqual([]);
    expect(passed).toBeGreaterThan(0);
  });
});
