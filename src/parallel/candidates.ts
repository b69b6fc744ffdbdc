import { median } from 'simple-statistics';
import type { FitnessSettings, Judged, PerformanceIndex } from '../core/fitness/fitness.ts';
import { closest, recommend, worth } from '../core/fitness/recommend.ts';
import { violations, type Violation } from '../core/fitness/slo.ts';
import { paramsKey } from '../core/space/space.ts';
import { isScored, judgedOf, type ScoredRecord, type TrialRecord } from './records.ts';

/** A trial that searched its load measured several configurations: some of them may be the answer. */
function measurementsOf(record: TrialRecord): TrialRecord[] {
  const { as_is, fastest } = record;
  const more = [...(as_is ? [as_is] : []), ...(fastest === undefined ? [] : [fastest])].filter(
    (one, index, all) =>
      paramsKey(one.params) !== paramsKey(record.params) &&
      all.findIndex(({ params }) => paramsKey(params) === paramsKey(one.params)) === index,
  );
  return [...more.map(({ params, verdict }) => ({ ...record, params, verdict })), record];
}

/** What runs today, at the load of today. */
export const isPresent = ({ trial_id, params, as_is }: TrialRecord): boolean =>
  trial_id === 0 && as_is !== null && (as_is === undefined || paramsKey(as_is.params) === paramsKey(params));

/** A configuration by what counts of its measurements: those that confirm it, where there are any. */
export interface Candidate {
  /** The measurement that came first. */
  readonly record: ScoredRecord;
  readonly measurements: readonly ScoredRecord[];
  /** Measured again, so that luck does not choose. */
  readonly confirmations: readonly ScoredRecord[];
  /** Attempts to confirm it in which it could not be served. */
  readonly refuted: number;
  /** Medians of what counts. */
  readonly performance: Judged;
  readonly fitness: number;
  /** Of the medians. */
  readonly violations: readonly Violation[];
}

function middle(values: readonly (number | null | undefined)[]): number | null {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length === 0 ? null : median(known);
}

/** Latency by latency, statistic by statistic. */
function percentilesOf(counted: readonly ScoredRecord[]): NonNullable<Judged['percentiles']> {
  const all = counted.map(({ verdict }) => verdict.percentiles);
  const [first = {}] = all;
  return Object.fromEntries(
    Object.entries(first).map(([latency, statistics = {}]) => [
      latency,
      Object.fromEntries(
        Object.keys(statistics).map((name) => [
          name,
          middle(all.map((one) => one[latency]?.[name as keyof typeof statistics])) ?? 0,
        ]),
      ),
    ]),
  );
}

function mediansOf(counted: readonly ScoredRecord[]): Judged {
  const of = (metric: keyof PerformanceIndex): number | null =>
    middle(counted.map(({ verdict }) => verdict.performance[metric]));
  return {
    generate_speed: of('generate_speed'),
    time_to_first_token: of('time_to_first_token'),
    time_per_output_token: of('time_per_output_token'),
    success_rate: of('success_rate'),
    throughput: of('throughput'),
    percentiles: percentilesOf(counted),
    goodput: middle(counted.map(({ verdict }) => verdict.goodput)),
  };
}

function candidateOf(
  measurements: readonly [ScoredRecord, ...ScoredRecord[]],
  refuted: number,
  slos: FitnessSettings,
): Candidate {
  const confirmations = measurements.filter(({ confirms }) => confirms !== null);
  const counted = confirmations.length > 0 ? confirmations : measurements;
  const performance = mediansOf(counted);
  return {
    record: measurements[0],
    measurements,
    confirmations,
    refuted,
    performance,
    fitness: middle(counted.map(({ verdict }) => verdict.fitness)) ?? Infinity,
    violations: violations(performance, slos),
  };
}

/** Every configuration that was measured, in the order of its first measurement. */
export function candidates(records: readonly TrialRecord[], slos: FitnessSettings): Candidate[] {
  const byConfiguration = new Map<string, [ScoredRecord, ...ScoredRecord[]]>();
  const refuted = new Map<string, number>();
  for (const record of records.flatMap(measurementsOf)) {
    if (record.reused_from !== null || (isScored(record) && record.verdict.censored === true)) continue;
    const key = paramsKey(record.params);
    const known = byConfiguration.get(key);
    if (!isScored(record)) {
      const counts = record.confirms !== null && record.verdict.kind === 'infeasible';
      if (counts) refuted.set(key, (refuted.get(key) ?? 0) + 1);
    } else if (known === undefined) byConfiguration.set(key, [record]);
    else known.push(record);
  }
  return [...byConfiguration].map(([key, measurements]) =>
    candidateOf(measurements, refuted.get(key) ?? 0, slos),
  );
}

/** Whether it holds when it is measured again, as far as that was tried. */
const stands = ({ refuted, confirmations }: Candidate): boolean =>
  refuted === 0 || refuted < confirmations.length;

/** By its first measurement alone. */
const promise = ({ record: { verdict } }: Candidate, { objective }: FitnessSettings): number =>
  worth({ performance: judgedOf(verdict), fitness: verdict.fitness, violations: [] }, objective);

/**
 * Whether confirmations decide: not before all that promised as much as those that were confirmed have had their turn, or
 * an interruption would recommend whoever came first.
 */
function isDecided(all: readonly Candidate[], slos: FitnessSettings): boolean {
  const others = all.filter(({ record }) => !isPresent(record));
  const tried = ({ confirmations, refuted }: Candidate): boolean => confirmations.length + refuted > 0;
  const promises = others.filter(tried).map((one) => promise(one, slos));
  const least = promises.length === 0 ? -Infinity : Math.min(...promises);
  const isWithin = ({ record }: Candidate): boolean => record.verdict.violations.length === 0;
  return !others.some((one) => !tried(one) && isWithin(one) && promise(one, slos) > least);
}

/**
 * The recommended one: within the SLOs, and best by the objective; of those that were confirmed, where one of them is
 * within the SLOs.
 */
export function bestOf(records: readonly TrialRecord[], slos: FitnessSettings): Candidate | undefined {
  const all = candidates(records, slos);
  const standing = all.filter(stands);
  const confirmed = standing.filter(({ confirmations }) => confirmations.length > 0);
  return (
    (isDecided(all, slos) ? recommend(confirmed, slos.objective) : undefined) ??
    recommend(standing, slos.objective)
  );
}

/** The one that misses its SLOs by the least. */
export function closestOf(records: readonly TrialRecord[], slos: FitnessSettings): Candidate | undefined {
  const all = candidates(records, slos);
  // What cannot be served again is near to nothing.
  return closest(all.filter(stands), slos.objective) ?? closest(all, slos.objective);
}
