import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { expect } from 'vitest';
import { ModelEvalStateError } from '../../src/base/errors.ts';

/**
 * Bytes that nobody meant: an answer, or one of our own errors with a place and a remedy; never a crash, never a hang.
 * Half of them are valid files with something wrong. `OPTIMIZER_FUZZ_RUNS` says how many cases each.
 */

export const numRuns = Number(process.env['OPTIMIZER_FUZZ_RUNS'] ?? 200);
const root = resolve(import.meta.dirname, '../..');
export const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** One edit: something is cut out, doubled, replaced or put in between. */
const edit = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.nat(12),
  text: fc.oneof(
    fc.string({ unit: 'binary', maxLength: 6 }),
    fc.constantFrom(
      '\0',
      '\r\n',
      '"',
      "'",
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '#',
      '=',
      'NaN',
      '1e999',
      '-1',
      'null',
      '\u001b[2J',
      '😀',
    ),
  ),
  twice: fc.boolean(),
});
type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;

function edited(text: string, edits: readonly Edit[]): string {
  return edits.reduce((now, { at, length, text: put, twice }) => {
    const from = Math.floor(at * now.length);
    const part = now.slice(from, from + length);
    return now.slice(0, from) + (twice ? part + part : '') + put + now.slice(from + length);
  }, text);
}

export const mutation = (...valid: readonly string[]): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom(...valid), fc.array(edit, { minLength: 1, maxLength: 4 }))
    .map(([text, edits]) => edited(text, edits));

/** Half of it almost right; the rest anything, and what `others` make. */
export const almost = (
  valid: readonly string[],
  ...others: readonly fc.Arbitrary<string>[]
): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 1 + others.length, arbitrary: mutation(...valid) },
    fc.string({ unit: 'binary', maxLength: 200 }),
    ...others,
  );

export function answersOrExplains<T>(
  parse: (input: T) => unknown,
  inputs: fc.Arbitrary<T>,
  place?: RegExp,
  // Tried first, whatever the seed: what a parser's coverage must not be left to luck.
  examples: readonly T[] = [],
): void {
  fc.assert(
    fc.property(inputs, (input) => {
      try {
        parse(input);
      } catch (error) {
        if (!(error instanceof ModelEvalStateError)) throw error;
        expect(error.blame).not.toBe('program');
        expect(error.remedy).toMatch(/\w/);
        expect(error.message.length).toBeGreaterThan(0);
        if (place !== undefined) expect(error.message).toMatch(place);
      }
    }),
    { numRuns, examples: examples.map((one): [T] => [one]) },
  );
}

/** A JSON document of these keys: each with its usual value, none, or anything. */
export const documentWith = (usual: Readonly<Record<string, unknown>>): fc.Arbitrary<string> =>
  fc
    .record(
      Object.fromEntries(
        Object.entries(usual).map(([key, value]) => [
          key,
          fc.oneof({ weight: 12, arbitrary: fc.constant(value) }, fc.jsonValue({ maxDepth: 1 })),
        ]),
      ),
      { requiredKeys: [] },
    )
    .map((document) => JSON.stringify(document));
