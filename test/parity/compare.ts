import { deepStrictEqual } from 'node:assert/strict';

/** The vectors write what JSON has no number for as text. */
export function decode(value: unknown): unknown {
  if (value === 'inf') return Infinity;
  if (value === '-inf') return -Infinity;
  if (value === 'nan') return NaN;
  if (Array.isArray(value)) return value.map(decode);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, decode(one)]));
}

/** Equal to the last bit; −0 and 0 are the same number. */
export function same(actual: unknown, expected: unknown): void {
  deepStrictEqual(plain(actual), plain(expected));
}

function plain(value: unknown): unknown {
  return value === undefined ? undefined : (JSON.parse(JSON.stringify(value, numbers)) as unknown);
}

function numbers(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

export function close(actual: number, expected: number, relative = 1e-12): void {
  if (Object.is(actual, expected) || actual === expected) return;
  if (!(Math.abs(actual - expected) <= relative * Math.max(Math.abs(actual), Math.abs(expected)))) {
    throw new Error(`${actual} instead of ${expected}`);
  }
}

export function refuses(work: () => unknown): void {
  let value: unknown;
  try {
    value = work();
  } catch {
    return;
  }
  throw new Error(`expected an error, got ${JSON.stringify(value)}`);
}

/** A case of a file; what it holds is known by the file's adapter alone. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- every file has its own shape
export type Case = any;

export interface Deviation {
  /** A bug of the original, or one of our own decisions. */
  readonly reason: string;
  /** Looks at the input of a case only. */
  applies(input: Case): boolean;
  /** What we do instead. */
  check(input: Case): void | Promise<void>;
}
