import { ModelEvalStateError } from './errors.ts';

/** A broken invariant of this program, never of its user. */
export function broken(what: string): ModelEvalStateError {
  return new ModelEvalStateError(
    `Internal error: ${what}`,
    {},
    {
      blame: 'program',
      remedy: 'Report this with the log of the run; the journal keeps everything measured so far.',
    },
  );
}

/** The value, or an internal error that names what was missing. */
export function need<T>(value: T | undefined | null, what: string): T {
  if (value === undefined || value === null) throw broken(`missing ${what}`);
  return value;
}
