import type { Clock } from '../base/clock.ts';
import { ms, toSeconds, type GroupId, type Ms } from '../base/units.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import type { NodeFailure } from '../core/resilience/conviction.ts';
import type { FailedAttempt, TrialRecord } from './records.ts';
import { originOf, type Settled } from './settled.ts';

/** A suggestion on its way to a verdict. */
export interface Trial {
  readonly suggestion: Suggestion;
  readonly startedAt: string;
  readonly began: Ms;
  readonly failed: FailedAttempt[];
  readonly nodeFailures: NodeFailure[];
  readonly avoid: Set<GroupId>;
}

/** @param measuredOn groups that know its configuration */
export const newTrial = (suggestion: Suggestion, clock: Clock, measuredOn: ReadonlySet<GroupId>): Trial => ({
  suggestion,
  startedAt: clock.wallTime().toISOString(),
  began: clock.now(),
  failed: [],
  nodeFailures: [],
  // Measured again, then elsewhere: what only one group can do does not hold.
  avoid: new Set(suggestion.confirms === undefined ? [] : measuredOn),
});

export const recordOf = (trial: Trial, settled: Settled, clock: Clock): TrialRecord => ({
  trial_id: trial.suggestion.trialId,
  params: trial.suggestion.params,
  ...originOf(trial.suggestion),
  ...settled,
  failed_attempts: trial.failed,
  started_at: trial.startedAt,
  finished_at: clock.wallTime().toISOString(),
  duration_s: toSeconds(ms(clock.now() - trial.began)),
});
