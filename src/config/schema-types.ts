import { z } from 'zod';
import { parseDuration } from './duration.ts';

/** What users of the original may write: `"12"` for 12, `"true"` for true, `"inf"`. */
function laxNumber(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value !== 'string') return value;
  const text = value.trim().toLowerCase();
  if (/^[+-]?inf(inity)?$/.test(text)) return text.startsWith('-') ? -Infinity : Infinity;
  return text !== '' && Number.isFinite(Number(text)) ? Number(text) : value;
}

function laxBoolean(value: unknown): unknown {
  if (value === 1 || value === 0) return value === 1;
  if (typeof value !== 'string') return value;
  const text = value.trim().toLowerCase();
  if (['true', '1', 'yes', 'on'].includes(text)) return true;
  return ['false', '0', 'no', 'off'].includes(text) ? false : value;
}

interface Limits {
  readonly integer?: boolean;
  readonly above?: number;
  readonly atLeast?: number;
  readonly below?: number;
  readonly atMost?: number;
}

function expectation({ integer, above, atLeast, below, atMost }: Limits): string {
  const parts = [
    above === undefined ? '' : `greater than ${above}`,
    atLeast === undefined ? '' : `at least ${atLeast}`,
    below === undefined ? '' : `less than ${below}`,
    atMost === undefined ? '' : `at most ${atMost}`,
  ].filter((part) => part !== '');
  const noun = integer === true ? 'a whole number' : 'a number';
  return parts.length === 0 ? noun : `${noun}, ${parts.join(' and ')}`;
}

/** A number; every error message says the whole expectation. */
export function number(limits: Limits = {}): z.ZodType<number> {
  const accepts = (value: unknown): value is number =>
    typeof value === 'number' &&
    !Number.isNaN(value) &&
    (limits.integer !== true || Number.isInteger(value)) &&
    (limits.above === undefined || value > limits.above) &&
    (limits.atLeast === undefined || value >= limits.atLeast) &&
    (limits.below === undefined || value < limits.below) &&
    (limits.atMost === undefined || value <= limits.atMost);
  return z.preprocess(laxNumber, z.custom<number>(accepts, { error: expectation(limits) }));
}

export const integer = (limits: Omit<Limits, 'integer'> = {}): z.ZodType<number> =>
  number({ ...limits, integer: true });

/** A duration in seconds; fractions are fine. */
export const seconds = (): z.ZodType<number> => number({ above: 0 });

/** A duration in seconds, or in words such as "2h". */
export const duration = (): z.ZodType<number> =>
  z.preprocess(
    (value) => (typeof value === 'string' ? parseDuration(value) : value),
    z.custom<number>((value) => typeof value === 'number' && value > 0, {
      error: 'a time such as "2h" or "90min", or a number of seconds',
    }),
  );

export const text = (): z.ZodType<string> =>
  z.preprocess(
    (value) => (typeof value === 'number' ? String(value) : value),
    z.string({ error: 'a text in quotes' }),
  );

export const boolean = (): z.ZodType<boolean> =>
  z.preprocess(laxBoolean, z.boolean({ error: 'true or false' }));

export const oneOf = <const T extends readonly [string, ...string[]]>(...values: T): z.ZodType<T[number]> =>
  z.enum(values, {
    error: `one of ${values.map((value) => `"${value}"`).join(', ')}`,
  });

/** Accepted because files of the original have it; nothing here reads it. */
export const withoutEffect = 'accepted from files of the original, without effect';
export const ignoredText = (): z.ZodType<string | undefined> => text().optional().describe(withoutEffect);

/** A table with these keys and no others. */
export const table = <T extends z.ZodRawShape>(shape: T): z.ZodObject<T, z.core.$strict> =>
  z.strictObject(shape, { error: ({ code }) => (code === 'invalid_type' ? 'a table' : undefined) });

export const list = <T>(item: z.ZodType<T>, noun: string): z.ZodType<T[]> =>
  z.array(item, { error: `a list of ${noun}` });

export const environment = (): z.ZodType<Record<string, string>> =>
  z.record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: 'a name of letters, digits and _' }),
    z.preprocess(
      (value) => (typeof value === 'number' || typeof value === 'boolean' ? String(value) : value),
      text(),
    ),
    { error: 'a table of environment variables' },
  );
