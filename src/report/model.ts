import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { activeSlos } from '../core/fitness/slo.ts';
import type { ParamValue } from '../core/space/field.ts';
import { type JournalEntry, type LoadPoint, type TrialRecord } from '../parallel/records.ts';
import {
  failuresOf,
  finalistsOf,
  importances,
  isMeasured,
  short,
  type Failure,
  type Finalist,
  type Importance,
} from './findings.ts';
import type { Summary } from './summary.ts';
import { spansOf, type Span } from './timeline.ts';

/** What the charts and tables of report.html show: the journal, made small. Seconds are since the run began. */
export interface ReportModel {
  readonly fields: readonly ReportField[];
  readonly trials: readonly ReportTrial[];
  readonly slos: { readonly ttft_ms: number | null; readonly tpot_ms: number | null };
  readonly groups: readonly {
    readonly id: number;
    readonly hosts: readonly string[];
    /** Accelerators; null in older journals. */
    readonly devices: number | null;
  }[];
  readonly spans: readonly Span[];
  readonly baseline: number | null;
  readonly best: number | null;
  readonly curves: readonly Curve[];
  readonly importance: readonly Importance[];
  readonly failures: readonly Failure[];
  readonly finalists: readonly Finalist[];
}

export interface ReportField {
  readonly name: string;
  readonly kind: 'number' | 'category';
  readonly log: boolean;
}

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
  readonly note: string;
}

export interface Curve {
  readonly of: 'baseline' | 'best';
  readonly points: readonly {
    readonly load: string;
    readonly speed: number;
    readonly ttft_ms: number | null;
    readonly tpot_ms: number | null;
    readonly feasible: boolean;
    readonly chosen: boolean;
  }[];
}

const milliseconds = (seconds: number | null): number | null =>
  short(seconds === null ? null : seconds * 1000);

function outcomeOf({ verdict }: TrialRecord): Outcome {
  if (verdict.kind !== 'scored') return verdict.kind === 'failed' ? 'failed' : 'infeasible';
  if (verdict.censored === true) return 'stopped';
  return verdict.violations.length === 0 ? 'feasible' : 'outside';
}

function originOf({ reused_from, confirms, refines }: TrialRecord): ReportTrial['origin'] {
  if (reused_from !== null) return 'reused';
  if (confirms !== null) return 'confirms';
  return refines === undefined ? 'search' : 'refines';
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

function trialOf(record: TrialRecord, fields: readonly ReportField[], began: number): ReportTrial {
  const { verdict } = record;
  const performance = isMeasured(record) ? record.verdict.performance : undefined;
  return {
    id: record.trial_id,
    group: record.group_id,
    outcome: outcomeOf(record),
    origin: originOf(record),
    at_s: short((Date.parse(record.finished_at) - began) / 1000) ?? 0,
    start_s: short(record.start_s) ?? 0,
    benchmark_s: short(record.benchmark_s) ?? 0,
    speed: short(performance?.generate_speed),
    ttft_ms: milliseconds(performance?.time_to_first_token ?? null),
    tpot_ms: milliseconds(performance?.time_per_output_token ?? null),
    success: short(performance?.success_rate),
    cost: verdict.kind === 'scored' ? short(verdict.fitness) : null,
    params: fields.map(({ name }) => {
      const value = record.params[name];
      return typeof value === 'number' ? short(value) : (value ?? null);
    }),
    note: noteOf(record),
  };
}

const loadText = (load: LoadPoint['load']): string =>
  Object.entries(load)
    .map(([name, value]) => `${name} ${typeof value === 'number' ? (short(value) ?? '') : String(value)}`)
    .join(', ');

/** The loads of a service, in the order of its throughput's cause: the load. */
function curveOf(of: Curve['of'], { baseline, best }: Summary): Curve[] {
  const trial = of === 'best' ? best : baseline;
  const curve = trial?.curve ?? [];
  if (trial === null || curve.length === 0) return [];
  const size = ({ load }: LoadPoint): number =>
    Object.values(load).reduce<number>((sum, value) => sum + (typeof value === 'number' ? value : 0), 0);
  const isChosen = ({ load }: LoadPoint): boolean =>
    Object.entries(load).every(([name, value]) => trial.params[name] === value);
  const points = [...curve]
    .sort((a, b) => size(a) - size(b))
    .flatMap((point) => {
      const speed = short(point.performance?.generate_speed);
      if (speed === null || point.performance === null || point.censored === true) return [];
      return [
        {
          load: loadText(point.load),
          speed,
          ttft_ms: milliseconds(point.performance.time_to_first_token),
          tpot_ms: milliseconds(point.performance.time_per_output_token),
          feasible: point.feasible,
          chosen: isChosen(point),
        },
      ];
    });
  return [{ of, points }];
}

/** Parameters that differ between trials; of a wide range of numbers above 0 a logarithm shows more. */
function fieldsOf(told: readonly TrialRecord[]): ReportField[] {
  const values = new Map<string, Set<ParamValue>>();
  for (const { params } of told)
    for (const [name, value] of Object.entries(params))
      values.set(name, (values.get(name) ?? new Set<ParamValue>()).add(value));
  return [...values]
    .filter(([, seen]) => seen.size > 1)
    .map(([name, seen]) => {
      const numbers = [...seen].filter((value) => typeof value === 'number');
      const isNumeric = numbers.length === seen.size;
      const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
      return {
        name,
        kind: isNumeric ? 'number' : 'category',
        log: isNumeric && least > 0 && most > 50 * least,
      };
    });
}

export function reportModel(
  entries: readonly JournalEntry[],
  summary: Summary,
  slos: FitnessSettings,
): ReportModel {
  const told = entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
  const began = Date.parse(summary.started_at);
  const fields = fieldsOf(told);
  const limit = (name: string): number | null =>
    milliseconds(
      activeSlos(slos).find((slo) => slo.name === name && slo.statistic === undefined)?.limit ?? null,
    );
  const groups = entries
    .flatMap((entry) => (entry.type === 'run-started' || entry.type === 'resumed' ? [entry.groups] : []))
    .at(-1);
  return {
    fields,
    trials: told.map((record) => trialOf(record, fields, began)),
    slos: { ttft_ms: limit('time_to_first_token'), tpot_ms: limit('time_per_output_token') },
    groups: (groups ?? []).map(({ group_id, hosts, devices }) => ({
      ...{ id: group_id, hosts, devices: devices ?? null },
    })),
    spans: spansOf(entries, began),
    baseline: summary.baseline?.trial_id ?? null,
    best: summary.best?.trial_id ?? null,
    curves: [...curveOf('baseline', summary), ...curveOf('best', summary)],
    importance: importances(told, fields),
    failures: failuresOf(entries),
    finalists: finalistsOf(told),
  };
}
