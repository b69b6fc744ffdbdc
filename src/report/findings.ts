import { importance } from '../core/analysis/importance.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { paramsKey } from '../core/space/space.ts';
import { bestOf, candidates, isPresent, type Candidate } from '../parallel/candidates.ts';
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
  readonly is: 'present' | 'recommended' | 'other';
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

/** With the noise of all of them together. A trial that was measured at several loads may be several of them. */
export function finalistsOf(told: readonly TrialRecord[], slos: FitnessSettings): Finalist[] {
  const best = bestOf(told, slos);
  const is = ({ record }: Candidate): Finalist['is'] => {
    if (isPresent(record)) return 'present';
    return best !== undefined && paramsKey(best.record.params) === paramsKey(record.params)
      ? 'recommended'
      : 'other';
  };
  const speed = ({ verdict }: ScoredRecord): number | null => short(verdict.performance.generate_speed);
  const all = candidates(told, slos)
    .filter(({ confirmations }) => confirmations.length > 0)
    .map((candidate) => ({
      trial: candidate.record.trial_id,
      is: is(candidate),
      first: candidate.record.confirms === null ? speed(candidate.record) : null,
      again: candidate.confirmations.flatMap((record) => speed(record) ?? []),
    }));
  const noise = pooledNoise(all.map(({ again }) => again));
  return all.map((one) => ({
    ...one,
    interval: noise === undefined || one.again.length === 0 ? null : rerunInterval(one.again, noise),
  }));
}
