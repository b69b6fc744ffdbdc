import type { HostEntry } from '../config/host-syntax.ts';
import type { Blame } from '../base/errors.ts';
import type { GroupId, TrialId } from '../base/units.ts';
import type { Parts } from '../core/fitness/composition.ts';
import type {
  FitnessSettings,
  FitnessTerms,
  Judged,
  Percentiles,
  PerformanceIndex,
} from '../core/fitness/fitness.ts';
import type { Violation } from '../core/fitness/slo.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import type { Traits } from './benchmark-port.ts';
import type { Field, ParamValue, ServingParams } from '../core/space/field.ts';

export type { Traits } from './benchmark-port.ts';

/** What is written about an error: enough to understand it without the program. */
export interface ErrorRecord {
  readonly class: string;
  readonly message: string;
  readonly remedy: string;
  readonly blame: Blame;
  readonly details: Readonly<Record<string, unknown>>;
}

/** What a service does with a value that it was asked for. */
export type Effect =
  | { readonly kind: 'as_asked' }
  /** It runs with this one in its place. */
  | { readonly kind: 'adjusted'; readonly effective: ParamValue }
  /** It does not tell. */
  | { readonly kind: 'unknown' };

export type Effects = Readonly<Record<string, Effect>>;

export type Verdict =
  | {
      readonly kind: 'scored';
      readonly fitness: number;
      readonly terms: FitnessTerms;
      /** What the model foresees in place of the fitness; of a benchmark that ended early, as it was going. */
      readonly parts?: Parts;
      readonly performance: PerformanceIndex;
      readonly percentiles: Readonly<Partial<Record<string, Partial<Percentiles>>>>;
      /** Requests a second that kept all of their own SLOs, where there were any. */
      readonly goodput?: number;
      readonly violations: readonly Violation[];
      readonly flags: readonly string[];
      /** Of the workload as it really was; absent where the load tool does not tell. */
      readonly traits?: Traits;
      /** Greedy answers to the same questions, of measurements that confirm. */
      readonly canary?: readonly string[];
      /** Ended before its end, when nothing could save it: the numbers bound what it would have been. */
      readonly censored?: true;
      /** What the service did with each parameter; absent where its engine does not tell. */
      readonly effects?: Effects;
      /** As it was measured, where the group is another one than the others and its numbers are scaled. */
      readonly raw_performance?: PerformanceIndex;
      /** As the service says; absent where it does not. */
      readonly engine_version?: string;
    }
  /** The configuration is at fault. */
  | { readonly kind: 'infeasible'; readonly error: ErrorRecord }
  /** The machines are at fault. */
  | { readonly kind: 'failed'; readonly error: ErrorRecord };

/** An attempt that did not end in a verdict. */
export interface FailedAttempt {
  readonly group_id: GroupId;
  readonly error: ErrorRecord;
}

/** One load of a configuration. */
export interface LoadPoint {
  readonly load: ServingParams;
  /** null where the configuration could not serve it. */
  readonly performance: PerformanceIndex | null;
  readonly fitness: number | null;
  readonly feasible: boolean;
  readonly error: string | null;
  /** Ended before its end: `performance` is what it could have come to at best, not a measurement. */
  readonly censored?: true;
}

/** One trial, told. Durations are seconds. */
export interface TrialRecord {
  readonly trial_id: TrialId;
  readonly group_id: GroupId | null;
  readonly params: ServingParams;
  readonly verdict: Verdict;
  readonly failed_attempts: readonly FailedAttempt[];
  /** The trial whose measurement this is, when the same configuration was measured before. */
  readonly reused_from: TrialId | null;
  /** The trial whose configuration this one measures again. */
  readonly confirms: TrialId | null;
  /** The trial whose load this one brings to its SLOs; absent for others. */
  readonly refines?: TrialId;
  /** The loads that it was measured at, on one service; absent where its load was given. */
  readonly curve?: readonly LoadPoint[];
  /** Of the present configuration: what it does at its own load; null where that cannot be measured. */
  readonly as_is?: Pick<ScoredRecord, 'params' | 'verdict'> | null;
  /** The load that is the better answer, where the one of least cost is not: faster, and within the SLOs as well. */
  readonly fastest?: Pick<ScoredRecord, 'params' | 'verdict'>;
  /** Services that were started for it, 0 where it found its own running; absent where no group was used. */
  readonly starts?: number;
  readonly started_at: string;
  readonly finished_at: string;
  readonly start_s: number;
  readonly benchmark_s: number;
  /** Waiting for a group and all attempts included. */
  readonly duration_s: number;
  readonly num_prompts: number | null;
}

export interface GroupRecord {
  readonly group_id: GroupId;
  readonly hosts: readonly string[];
  /** Accelerators of all its nodes; absent in older journals. */
  readonly devices?: number;
  /** What they are, and their driver; absent where nothing tells. */
  readonly hardware?: string;
}

export type RunStatus = 'completed' | 'budget' | 'no_feasible' | 'interrupted' | 'failed';

/** One line of the journal; the state of a run is a fold over them. */
export type JournalEntry =
  | {
      readonly type: 'run-started';
      readonly schema: 1;
      readonly at: string;
      readonly run_id: string;
      readonly seed: number;
      readonly engine: string;
      readonly benchmark: string;
      readonly version: string;
      /** Equal where measurements can be compared. */
      readonly setup?: string;
      /** What trials are judged by. */
      readonly slos: FitnessSettings;
      readonly groups: readonly GroupRecord[];
      /** Fields whose values change what the model computes. */
      readonly changes_numerics?: readonly string[];
      /** What is searched; absent in older journals. */
      readonly fields?: readonly Field[];
    }
  | { readonly type: 'resumed'; readonly at: string; readonly groups: readonly GroupRecord[] }
  | { readonly type: 'asked'; readonly at: string; readonly suggestion: Suggestion }
  | { readonly type: 'started'; readonly at: string; readonly trial_id: TrialId; readonly group_id: GroupId }
  | {
      readonly type: 'attempt-failed';
      readonly at: string;
      readonly trial_id: TrialId;
      readonly group_id: GroupId;
      readonly busy_s: number;
      readonly error: ErrorRecord;
    }
  | {
      readonly type: 'told';
      readonly at: string;
      readonly record: TrialRecord;
      /** Where the trial's files were copied, relative to the result directory. */
      readonly backup?: string | null;
    }
  /** Told behind damage that was repaired: measured, but the search does not know of it yet. */
  | { readonly type: 'recovered'; readonly at: string; readonly record: TrialRecord }
  /** The present configuration on a group, so that groups can be compared; null: it could not be measured there. */
  | {
      readonly type: 'group-measured';
      readonly at: string;
      readonly group_id: GroupId;
      readonly hosts: readonly string[];
      readonly performance: PerformanceIndex | null;
      /** Services that were started for it, and the seconds that it took. */
      readonly starts: number;
      readonly busy_s: number;
    }
  /** Groups joined or left while it ran. */
  | {
      readonly type: 'scaled';
      readonly at: string;
      readonly added: readonly { readonly group_id: GroupId; readonly hosts: readonly HostEntry[] }[];
      readonly left: readonly GroupId[];
      /** All that there were in this session. */
      readonly groups: readonly GroupRecord[];
    }
  /** The group that the others are compared with from now on. */
  | { readonly type: 'groups-compared'; readonly at: string; readonly reference: GroupId }
  | {
      readonly type: 'circuit';
      readonly at: string;
      readonly group_id: GroupId;
      readonly state: 'closed' | 'open' | 'half_open';
      readonly cause: string | null;
    }
  | {
      readonly type: 'run-ended';
      readonly at: string;
      readonly status: RunStatus;
      readonly error: ErrorRecord | null;
    };

/**
 * What was measured. Behind a damage that was repaired it counts as well, until the run goes on: then it is reused, and
 * told anew.
 */
export function toldIn(entries: readonly JournalEntry[]): TrialRecord[] {
  const isTold = (entry: JournalEntry): boolean => entry.type === 'told';
  const last = entries.findLastIndex(({ type }) => type === 'recovered');
  const wentOn = last >= 0 && entries.slice(last).some(isTold);
  return entries.flatMap((entry) =>
    entry.type === 'told' || (entry.type === 'recovered' && !wentOn) ? [entry.record] : [],
  );
}

type Scored = Extract<Verdict, { kind: 'scored' }>;

/** A verdict's measurement as it is judged. */
export const judgedOf = ({
  performance,
  percentiles,
  goodput,
}: Pick<Scored, 'performance' | 'percentiles' | 'goodput'>): Judged => ({
  ...performance,
  percentiles,
  goodput: goodput ?? null,
});

export type ScoredRecord = TrialRecord & { readonly verdict: Scored };

export const isScored = (record: TrialRecord): record is ScoredRecord => record.verdict.kind === 'scored';
