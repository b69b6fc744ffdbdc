import type { FitnessSettings, FitnessTerms, Judged, PerformanceIndex } from '../core/fitness/fitness.ts';
import type { Violation } from '../core/fitness/slo.ts';
import type { ServingParams } from '../core/space/field.ts';
import { bestOf, candidates, closestOf, isPresent, type Candidate } from '../parallel/candidates.ts';
import {
  isScored,
  toldIn,
  type Effects,
  type ErrorRecord,
  type JournalEntry,
  type LoadPoint,
  type RunStatus,
  type TrialRecord,
} from '../parallel/records.ts';
import { canaryFlags, canaryOf, unlikeSiblings, type Canary } from './artefacts.ts';
import {
  activeSeconds,
  groupSummaries,
  ofType,
  seconds,
  type Entry,
  type GroupSummary,
} from './group-summary.ts';
import { trustOf, type Trust } from './trust.ts';

export interface TrialSummary {
  readonly trial_id: number;
  readonly group_id: number | null;
  readonly params: ServingParams;
  readonly performance: PerformanceIndex & { readonly percentiles: NonNullable<Judged['percentiles']> };
  readonly fitness: number;
  readonly terms: FitnessTerms;
  readonly feasible: boolean;
  /** What the service did with each parameter; null where its engine does not tell. */
  readonly effects: Effects | null;
  /** Requests a second that kept all of their own SLOs; null where there were none. */
  readonly goodput: number | null;
  /** Parameters that differ from the baseline's and change what the model computes. */
  readonly changes_numerics: readonly string[];
  /** What a reader of the numbers must know. */
  readonly flags: readonly string[];
  /** The loads that its service was measured at; null where its load was given. */
  readonly curve: readonly LoadPoint[] | null;
  /**
   * All of this configuration. `performance` and `fitness` are medians: of those that confirm, where there are any. The
   * rest is of the first.
   */
  readonly measurements: readonly {
    readonly trial_id: number;
    readonly group_id: number | null;
    readonly confirms: number | null;
    readonly generate_speed: number | null;
  }[];
}

/** summary.json; seconds and tokens/s, absent is null. */
export interface Summary {
  readonly schema: 1;
  readonly run_id: string;
  readonly status: RunStatus;
  readonly exit_code: number;
  readonly engine: string;
  readonly benchmark: string;
  readonly seed: number;
  readonly started_at: string;
  readonly finished_at: string;
  readonly duration_s: number;
  readonly utilization: number | null;
  readonly evaluations: {
    readonly measured: number;
    readonly reused: number;
    readonly infeasible: number;
    readonly failed: number;
    readonly retried: number;
    readonly failed_over: number;
  };
  readonly groups: readonly GroupSummary[];
  readonly baseline: TrialSummary | null;
  readonly best: TrialSummary | null;
  readonly closest: (TrialSummary & { readonly violations: readonly Violation[] }) | null;
  readonly improvement: { readonly generate_speed_ratio: number | null };
  /** null where nothing was recommended, or it was not measured again. */
  readonly trust: Trust | null;
  /** Whether the recommended configuration still says what the present one says; null where it was not asked. */
  readonly canary: Canary | null;
  /** Services started for trials with a verdict, and measurements that needed no start. */
  readonly starts: { readonly made: number; readonly saved: number };
  readonly artifacts: Readonly<Record<string, string>>;
  readonly error: ErrorRecord | null;
}

function trialSummary(
  candidate: Candidate,
  baseline: Candidate | undefined,
  numerics: readonly string[],
): TrialSummary {
  const { record, measurements } = candidate;
  const { verdict } = record;
  const { percentiles = {}, goodput = null, ...performance } = candidate.performance;
  return {
    trial_id: record.trial_id,
    group_id: record.group_id,
    params: record.params,
    performance: { ...performance, percentiles },
    fitness: candidate.fitness,
    terms: verdict.terms,
    feasible: candidate.violations.length === 0,
    effects: verdict.effects ?? null,
    goodput,
    changes_numerics: numerics.filter(
      (name) => baseline !== undefined && baseline.record.params[name] !== record.params[name],
    ),
    flags: verdict.flags,
    curve: record.curve ?? null,
    measurements: measurements.map(({ trial_id, group_id, confirms, verdict: one }) => ({
      trial_id,
      group_id,
      confirms,
      generate_speed: one.performance.generate_speed,
    })),
  };
}

function count(told: readonly TrialRecord[]): Summary['evaluations'] {
  const own = told.filter((record) => record.reused_from === null);
  const kind = (name: string): number => own.filter((record) => record.verdict.kind === name).length;
  const retried = told.filter((record) => record.failed_attempts.length > 0);
  return {
    measured: kind('scored'),
    reused: told.length - own.length,
    infeasible: kind('infeasible'),
    failed: kind('failed'),
    retried: retried.length,
    failed_over: retried.filter(
      (record) =>
        isScored(record) && record.failed_attempts.some(({ group_id }) => group_id !== record.group_id),
    ).length,
  };
}

function startsOf(
  told: readonly TrialRecord[],
  compared: readonly Entry<'group-measured'>[],
): Summary['starts'] {
  const own = told.filter(({ reused_from, group_id }) => reused_from === null && group_id !== null);
  const sum = (of: (record: TrialRecord) => number): number => own.reduce((total, one) => total + of(one), 0);
  // Without a service that is kept every measurement has a start of its own.
  const needed = ({ curve, verdict }: TrialRecord): number =>
    curve?.length ?? Number(verdict.kind === 'scored');
  const made = ({ starts = 1 }: TrialRecord): number => starts;
  const ofGroups = compared.reduce((total, { starts }) => total + starts, 0);
  return { made: sum(made) + ofGroups, saved: sum((one) => Math.max(0, needed(one) - made(one))) };
}

export interface Ending {
  readonly status: RunStatus;
  readonly exitCode: number;
  readonly at: string;
  readonly error: ErrorRecord | null;
}

type Choices = Pick<Summary, 'baseline' | 'best' | 'closest' | 'canary'>;

function choices(
  told: readonly TrialRecord[],
  slos: FitnessSettings | undefined,
  numerics: readonly string[],
): Choices {
  if (slos === undefined) return { baseline: null, best: null, closest: null, canary: null };
  const baseline = candidates(told, slos).find(({ record }) => isPresent(record));
  const best = bestOf(told, slos);
  const near = best === undefined ? closestOf(told, slos) : undefined;
  const canary = best && baseline && canaryOf(best, baseline);
  const of = (candidate: Candidate): TrialSummary => {
    const summary = trialSummary(candidate, baseline, numerics);
    const more = candidate === best && canary !== undefined ? canaryFlags(canary) : [];
    return { ...summary, flags: [...summary.flags, ...unlikeSiblings(candidate, told), ...more] };
  };
  return {
    canary: canary ?? null,
    baseline: baseline === undefined ? null : of(baseline),
    best: best === undefined ? null : of(best),
    closest: near === undefined ? null : { ...of(near), violations: near.violations },
  };
}

function ratio({ baseline, best }: Choices): number | null {
  const from = baseline?.performance.generate_speed ?? 0;
  const to = best?.performance.generate_speed;
  return from === 0 || to === undefined || to === null ? null : to / from;
}

/** Of a run that came to nothing before it began. */
const noRun = {
  ...{ run_id: '', engine: '', benchmark: '', seed: 0 },
  ...{ at: undefined, slos: undefined, changes_numerics: undefined },
};

/** The state of a run as a fold over its journal. */
export function summarize(
  entries: readonly JournalEntry[],
  ending: Ending,
  artifacts: Summary['artifacts'],
): Summary {
  const run = ofType(entries, 'run-started')[0] ?? noRun;
  const told = toldIn(entries);
  const active = activeSeconds(entries, told);
  const groups = groupSummaries(entries, told, active);
  const busy = groups.reduce((sum, group) => sum + group.busy_s, 0);
  const chosen = choices(told, run.slos, run.changes_numerics ?? []);
  const startedAt = run.at ?? ending.at;
  return {
    schema: 1,
    run_id: run.run_id,
    status: ending.status,
    exit_code: ending.exitCode,
    engine: run.engine,
    benchmark: run.benchmark,
    seed: run.seed,
    started_at: startedAt,
    finished_at: ending.at,
    duration_s: seconds(startedAt, ending.at),
    utilization: active > 0 && groups.length > 0 ? busy / (groups.length * active) : null,
    evaluations: count(told),
    groups,
    ...chosen,
    improvement: { generate_speed_ratio: ratio(chosen) },
    trust: (run.slos && trustOf(told, run.slos)) ?? null,
    starts: startsOf(told, ofType(entries, 'group-measured')),
    artifacts,
    error: ending.error,
  };
}
