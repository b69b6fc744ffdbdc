import { stringify } from 'csv-stringify/sync';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { candidates, type Candidate } from '../parallel/candidates.ts';
import type { TrialRecord } from '../parallel/records.ts';
import { paretoFront } from './pareto-front.ts';

/** Throughput against both latencies; what was not measured is as bad as can be. */
function objectives({ performance }: Candidate): number[] {
  const { generate_speed, time_to_first_token, time_per_output_token } = performance;
  return [-(generate_speed ?? 0), time_to_first_token ?? Infinity, time_per_output_token ?? Infinity];
}

/** pareto.csv: the configurations that are not beaten in throughput, TTFT and TPOT at once. */
export function paretoTable(told: readonly TrialRecord[], slos: FitnessSettings): string {
  const rows = paretoFront(candidates(told, slos), objectives).map(({ record, performance, ...rest }) => ({
    trial_id: record.trial_id,
    feasible: rest.violations.length === 0,
    generate_speed: performance.generate_speed,
    time_to_first_token: performance.time_to_first_token,
    time_per_output_token: performance.time_per_output_token,
    success_rate: performance.success_rate,
    fitness: rest.fitness,
    ...record.params,
  }));
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return stringify(rows, { header: true, columns, escape_formulas: true, cast: { boolean: String } });
}
