import { groupsIn } from './group-summary.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import type { ParamValue } from '../core/space/field.ts';
import { toldIn, type JournalEntry, type LoadPoint, type TrialRecord } from '../parallel/records.ts';
import type { ScoredStatistics } from './comparison.ts';
import {
  failuresOf,
  finalistsOf,
  importances,
  short,
  type Failure,
  type Finalist,
  type Importance,
} from './findings.ts';
import type { Summary } from './summary.ts';
import { spansOf, type Span } from './timeline.ts';
import {
  latenciesShown,
  markOf,
  measuredAgain,
  milliseconds,
  trialOf,
  type Mark,
  type ReportTrial,
  type Shown,
} from './trial-rows.ts';

/** What the charts and tables of report.html show: the journal, made small. Seconds are since the run began. */
export interface ReportModel {
  readonly fields: readonly ReportField[];
  readonly trials: readonly ReportTrial[];
  /** Of the statistic that is shown: the one that its SLO is about. null: without an SLO. */
  readonly slos: { readonly ttft_ms: number | null; readonly tpot_ms: number | null };
  /** As the axes call them. */
  readonly names: { readonly ttft_ms: string; readonly tpot_ms: string };
  /** Whether points of a curve, which have the scored statistic alone, can be held against the SLO. */
  readonly curvesHaveSlos: boolean;
  readonly groups: readonly {
    readonly id: number;
    readonly hosts: readonly string[];
    /** Accelerators; null in older journals. */
    readonly devices: number | null;
  }[];
  readonly spans: readonly Span[];
  /** By what counts of their measurements; their trials may have been measured at other loads as well. */
  readonly present: Mark | null;
  readonly recommended: Mark | null;
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
  scored: ScoredStatistics,
): ReportModel {
  const told = toldIn(entries);
  const began = Date.parse(summary.started_at);
  const fields = fieldsOf(told);
  const latencies = latenciesShown(slos, scored);
  const { ttft, tpot } = latencies;
  const limit = ({ slo }: Shown): number | null => milliseconds(slo?.limit ?? null);
  const again = measuredAgain(told, slos);
  return {
    fields,
    trials: told.map((record) => trialOf(record, { fields, began, latencies, again })),
    slos: { ttft_ms: limit(ttft), tpot_ms: limit(tpot) },
    names: { ttft_ms: ttft.label, tpot_ms: tpot.label },
    curvesHaveSlos: ttft.statistic === undefined && tpot.statistic === undefined,
    groups: groupsIn(entries).map(({ group_id, hosts, devices }) => ({
      ...{ id: group_id, hosts, devices: devices ?? null },
    })),
    spans: spansOf(entries, began),
    present: markOf(summary.baseline, told, latencies),
    recommended: markOf(summary.best, told, latencies),
    curves: [...curveOf('baseline', summary), ...curveOf('best', summary)],
    importance: importances(told, fields),
    failures: failuresOf(entries),
    finalists: finalistsOf(told, slos),
  };
}
