declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** Milliseconds. Configuration and files speak seconds; everything in between speaks this. */
export type Ms = Brand<number, 'Ms'>;
export type GroupId = Brand<number, 'GroupId'>;
/** Number of a trial within its run, from 0; trial 0 is the user's present configuration. */
export type TrialId = Brand<number, 'TrialId'>;
/** Cost of a configuration: finite, lower is better. */
export type Fitness = Brand<number, 'Fitness'>;

export const ms = (value: number): Ms => value as Ms;
export const fromSeconds = (value: number): Ms => (value * 1000) as Ms;
export const toSeconds = (value: Ms): number => value / 1000;
export const groupId = (value: number): GroupId => value as GroupId;
export const trialId = (value: number): TrialId => value as TrialId;

/** A duration as people read it: `850 ms`, `12.3 s`, `4 min 05 s`, `2 h 07 min`. */
export function formatDuration(duration: Ms): string {
  if (duration < 1000) return `${Math.round(duration)} ms`;
  const seconds = duration / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')} min`;
}
