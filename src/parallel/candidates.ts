import type { FitnessSettings, PerformanceIndex } from '../core/fitness/fitness.ts';
import { closest, recommend } from '../core/fitness/recommend.ts';
import { violations, type Violation } from '../core/fitness/slo.ts';
import { paramsKey } from '../core/space/space.ts';
import { isScored, type ScoredRecord, type TrialRecord } from './records.ts';

/** A configuration by all of its measurements: one in the search, more where it was confirmed. */
export interface Candidate {
  /** The measurement that came first. */
  readonly record: ScoredRecord;
  readonly measurements: readonly ScoredRecord[];
  /** Means over the measurements. */
  readonly performance: PerformanceIndex;
  readonly fitness: number;
  /** Of the means. */
  readonly violations: readonly Violation[];
}

function mean(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

function candidateOf(
  measurements: readonly [ScoredRecord, ...ScoredRecord[]],
  slos: FitnessSettings,
): Candidate {
  const of = (metric: keyof PerformanceIndex): number | null =>
    mean(measurements.map(({ verdict }) => verdict.performance[metric]));
  const performance: PerformanceIndex = {
    generate_speed: of('generate_speed'),
    time_to_first_token: of('time_to_first_token'),
    time_per_output_token: of('time_per_output_token'),
    success_rate: of('success_rate'),
    throughput: of('throughput'),
  };
  return {
    record: measurements[0],
    measurements,
    performance,
    fitness: mean(measurements.map(({ verdict }) => verdict.fitness)) ?? NaN,
    violations: violations(performance, slos),
  };
}

/** Every configuration that was measured, in the order of its first measurement. */
export function candidates(records: readonly TrialRecord[], slos: FitnessSettings): Candidate[] {
  const byConfiguration = new Map<string, [ScoredRecord, ...ScoredRecord[]]>();
  for (const record of records) {
    if (!isScored(record) || record.reused_from !== null) continue;
    const key = paramsKey(record.params);
    const known = byConfiguration.get(key);
    if (known === undefined) byConfiguration.set(key, [record]);
    else known.push(record);
  }
  return [...byConfiguration.values()].map((measurements) => candidateOf(measurements, slos));
}

/** The recommended one: within the SLOs, with the most output tokens a second. */
export function bestOf(records: readonly TrialRecord[], slos: FitnessSettings): Candidate | undefined {
  return recommend(candidates(records, slos));
}

/** The one that misses its SLOs by the least. */
export function closestOf(records: readonly TrialRecord[], slos: FitnessSettings): Candidate | undefined {
  return closest(candidates(records, slos));
}
