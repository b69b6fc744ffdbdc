import type { FitnessSettings, Judged } from '../core/fitness/fitness.ts';
import {
  activeSlos,
  measuredOf,
  sloNames,
  type Slo,
  type SloName,
  type SloStatistic,
} from '../core/fitness/slo.ts';
import type { ParamValue } from '../core/space/field.ts';
import { paramsKey } from '../core/space/space.ts';
import { candidates, type Candidate } from '../parallel/candidates.ts';
import { judgedOf, type TrialRecord } from '../parallel/records.ts';
import type { ScoredStatistics } from './comparison.ts';
import { isMeasured, short } from './findings.ts';
import type { ReportField } from './model.ts';
import type { TrialSummary } from './summary.ts';

/** Trials as the report shows them. */

/** `stopped`: ended early, when it could not win any more; what it measured is a bound, and not shown. */
export type Outcome = 'feasible' | 'outside' | 'stopped' | 'infeasible' | 'failed';

export interface ReportTrial {
  readonly id: number;
  readonly group: number | null;
  readonly outcome: Outcome;
  readonly origin: 'search' | 'confirms' | 'refines' | 'reused';
  readonly at_s: number;
  readonly start_s: number;
  readonly benchmark_s: number;
  /** Output tokens/s. */
  readonly speed: number | null;
  readonly ttft_ms: number | null;
  readonly tpot_ms: number | null;
  readonly success: number | null;
  readonly cost: number | null;
  /** In the order of the fields. */
  readonly params: readonly (ParamValue | null)[];
  /** What else was measured, a latency a line. */
  readonly more: readonly string[];
  readonly note: string;
}

export interface Mark {
  readonly trial: number;
  /** Whether the line of the trial is this configuration, and not another load of it. */
  readonly isItsTrial: boolean;
  readonly group: number | null;
  readonly speed: number | null;
  readonly ttft_ms: number | null;
  readonly tpot_ms: number | null;
}

export const milliseconds = (seconds: number | null): number | null =>
  short(seconds === null ? null : seconds * 1000);

function outcomeOf({ verdict }: TrialRecord, again: Candidate | undefined): Outcome {
  if (verdict.kind !== 'scored') return verdict.kind === 'failed' ? 'failed' : 'infeasible';
  if (verdict.censored === true) return 'stopped';
  return (again?.violations ?? verdict.violations).length === 0 ? 'feasible' : 'outside';
}

function originOf({ reused_from, confirms, refines }: TrialRecord): ReportTrial['origin'] {
  if (reused_from !== null) return 'reused';
  if (confirms !== null) return 'confirms';
  return refines === undefined ? 'search' : 'refines';
}

/** Statistics of latencies; of what was ended early there are none. */
function moreOf(record: TrialRecord): string[] {
  if (!isMeasured(record)) return [];
  return Object.entries(record.verdict.percentiles).map(([latency, statistics = {}]) => {
    const values = Object.entries(statistics).map(([name, value]) => `${name} ${short(value) ?? '–'}`);
    return `${latency}: ${values.join(', ')}`;
  });
}

/** What a reader of one line of the table must know beside its numbers. */
function noteOf({ verdict, reused_from, confirms, refines, failed_attempts }: TrialRecord): string {
  const parts = [
    ...(reused_from === null ? [] : [`as trial ${reused_from}`]),
    ...(confirms === null ? [] : [`confirms trial ${confirms}`]),
    ...(refines === undefined ? [] : [`refines trial ${refines}`]),
    ...(verdict.kind === 'scored'
      ? [
          ...(verdict.censored === true ? ['ended early: it could not win any more'] : []),
          ...verdict.flags.filter((flag) => flag !== 'simulated'),
        ]
      : [`${verdict.error.message} → ${verdict.error.remedy}`]),
    ...failed_attempts.map(({ group_id, error }) => `failed on group ${group_id}: ${error.message}`),
  ];
  return parts.join('; ').slice(0, 600);
}

/** The SLO of a latency, and the statistic that is shown because it is about that. */
export interface Shown {
  readonly slo: Slo | undefined;
  readonly statistic: SloStatistic | undefined;
  readonly label: string;
}

function shownOf(
  name: 'time_to_first_token' | 'time_per_output_token',
  slos: FitnessSettings,
  scored: ScoredStatistics,
): Shown {
  const [slo] = activeSlos(slos)
    .filter((one) => one.name === name)
    .sort((a, b) => Number(a.soft) - Number(b.soft));
  const usual = typeof scored[name] === 'string' ? scored[name] : 'mean';
  const statistic = slo?.statistic === usual ? undefined : slo?.statistic;
  return { slo, statistic, label: `${sloNames[name]} (${statistic ?? usual}), ms` };
}

export interface Latencies {
  readonly ttft: Shown;
  readonly tpot: Shown;
}

export const latenciesShown = (slos: FitnessSettings, scored: ScoredStatistics): Latencies => ({
  ttft: shownOf('time_to_first_token', slos, scored),
  tpot: shownOf('time_per_output_token', slos, scored),
});

function latenciesOf(judged: Judged, { ttft, tpot }: Latencies): Pick<ReportTrial, 'ttft_ms' | 'tpot_ms'> {
  const of = (name: SloName, { statistic }: Shown): number | null =>
    milliseconds(measuredOf({ name, statistic }, judged));
  return { ttft_ms: of('time_to_first_token', ttft), tpot_ms: of('time_per_output_token', tpot) };
}

export function markOf(
  trial: TrialSummary | null,
  told: readonly TrialRecord[],
  latencies: Latencies,
): Mark | null {
  if (trial === null) return null;
  const { trial_id, group_id, performance, params } = trial;
  const record = told.find((one) => one.trial_id === trial_id);
  return {
    trial: trial_id,
    isItsTrial: record !== undefined && paramsKey(record.params) === paramsKey(params),
    group: group_id,
    speed: short(performance.generate_speed),
    ...latenciesOf(performance, latencies),
  };
}

interface Shape {
  readonly fields: readonly ReportField[];
  readonly began: number;
  readonly latencies: Latencies;
  /** By trial and configuration: what was measured again, by what counts of it. */
  readonly again: ReadonlyMap<string, Candidate>;
}

/** What was measured again, by its trial. */
export const measuredAgain = (told: readonly TrialRecord[], slos: FitnessSettings): Shape['again'] =>
  new Map(
    candidates(told, slos)
      .filter(({ confirmations, record }) => confirmations.length > 0 && record.confirms === null)
      .map((candidate) => [againKey(candidate.record), candidate]),
  );

const againKey = ({ trial_id, params }: Pick<TrialRecord, 'trial_id' | 'params'>): string =>
  `${trial_id} ${paramsKey(params)}`;

export function trialOf(record: TrialRecord, { fields, began, latencies, again }: Shape): ReportTrial {
  const { verdict } = record;
  const candidate = again.get(againKey(record));
  const performance = isMeasured(record) ? (candidate?.performance ?? judgedOf(record.verdict)) : undefined;
  return {
    id: record.trial_id,
    group: record.group_id,
    outcome: outcomeOf(record, candidate),
    origin: originOf(record),
    at_s: short((Date.parse(record.finished_at) - began) / 1000) ?? 0,
    start_s: short(record.start_s) ?? 0,
    benchmark_s: short(record.benchmark_s) ?? 0,
    speed: short(performance?.generate_speed),
    ...(performance === undefined ? { ttft_ms: null, tpot_ms: null } : latenciesOf(performance, latencies)),
    success: short(performance?.success_rate),
    cost: verdict.kind === 'scored' ? short(candidate?.fitness ?? verdict.fitness) : null,
    params: fields.map(({ name }) => {
      const value = record.params[name];
      return typeof value === 'number' ? short(value) : (value ?? null);
    }),
    more: moreOf(record),
    note: [...(candidate === undefined ? [] : [againText(candidate)]), noteOf(record)]
      .filter(Boolean)
      .join('; '),
  };
}

/** What the line of a trial says that has the medians of later measurements. */
function againText({ confirmations, record }: Candidate): string {
  const first = short(record.verdict.performance.generate_speed);
  return `median of ${confirmations.length} later measurements; the first was ${first ?? '–'} tok/s`;
}
