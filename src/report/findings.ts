import { importance } from '../core/analysis/importance.ts';
import { pooledNoise, rerunInterval, type Interval } from '../core/trust/trust.ts';
import { isScored, type JournalEntry, type ScoredRecord, type TrialRecord } from '../parallel/records.ts';

/** What the trials of a run say together. */

export interface Importance {
  readonly name: string;
  /** Of the variance of log cost. */
  readonly share: number;
}

export interface Failure {
  readonly cause: string;
  readonly blame: string;
  readonly count: number;
}

/** Measurements of one configuration, output tokens/s. */
export interface Finalist {
  readonly trial: number;
  readonly first: number | null;
  readonly again: readonly number[];
  /** Where the mean of as many new measurements lies with 95 %; null where that cannot be said. */
  readonly interval: Interval | null;
}

/** Five digits say all that a measurement knows. */
export const short = (value: number | null | undefined): number | null =>
  value === null || value === undefined || !Number.isFinite(value) ? null : Number(value.toPrecision(5));

export const isMeasured = (record: TrialRecord): record is ScoredRecord =>
  isScored(record) && record.verdict.censored !== true;

export function importances(
  told: readonly TrialRecord[],
  fields: readonly { readonly name: string }[],
): Importance[] {
  const measured = told.filter(isMeasured).filter(({ reused_from }) => reused_from === null);
  return fields
    .flatMap(({ name }) => {
      const samples = measured.flatMap(({ params, verdict }) => {
        const value = params[name];
        return value === undefined || verdict.fitness <= 0
          ? []
          : [{ value, cost: Math.log(verdict.fitness) }];
      });
      const share = importance(samples);
      return share === undefined ? [] : [{ name, share: short(share) ?? 0 }];
    })
    .sort((a, b) => b.share - a.share);
}

/** Every failure that is in the journal, of trials and of single attempts. */
export function failuresOf(entries: readonly JournalEntry[]): Failure[] {
  const errors = entries.flatMap((entry) => {
    if (entry.type === 'attempt-failed') return [entry.error];
    return entry.type === 'told' && entry.record.verdict.kind !== 'scored'
      ? [entry.record.verdict.error]
      : [];
  });
  const counts = new Map<string, { cause: string; blame: string; count: number }>();
  for (const { class: cause, blame } of errors) {
    const known = counts.get(`${cause} ${blame}`) ?? { cause, blame, count: 0 };
    counts.set(`${cause} ${blame}`, { ...known, count: known.count + 1 });
  }
  return [...counts.values()].sort((a, b) => b.count - a.count);
}

/** With the noise of all of them together. */
export function finalistsOf(told: readonly TrialRecord[]): Finalist[] {
  const confirmed = [...new Set(told.flatMap(({ confirms }) => confirms ?? []))];
  const speed = (record: TrialRecord | undefined): number | null =>
    record !== undefined && isMeasured(record) ? short(record.verdict.performance.generate_speed) : null;
  const all = confirmed
    .sort((a, b) => a - b)
    .map((trial) => ({
      trial,
      first: speed(told.find(({ trial_id }) => trial_id === trial)),
      again: told.filter(({ confirms }) => confirms === trial).flatMap((record) => speed(record) ?? []),
    }));
  const noise = pooledNoise(all.map(({ again }) => again));
  return all.map((one) => ({
    ...one,
    interval: noise === undefined || one.again.length === 0 ? null : rerunInterval(one.again, noise),
  }));
}
