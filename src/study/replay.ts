import { ModelEvalStateError } from '../base/errors.ts';
import type { Judgement, Optimizer, Suggestion } from '../core/pso/optimizer.ts';
import { paramsKey } from '../core/space/space.ts';
import type { JournalEntry, TrialRecord, Verdict } from '../parallel/records.ts';
import type { Fitness, TrialId } from '../base/units.ts';
import { isConfirmation } from './confirmation.ts';
import { isRefinement } from './refinement.ts';

/** What a journal says of a run that goes on. */
export interface Progress {
  readonly told: readonly TrialRecord[];
  /** Asked, but without a verdict: to be measured before anything new. */
  readonly pending: readonly Suggestion[];
  /** Measured before the journal was damaged, and not asked since. */
  readonly recovered: readonly TrialRecord[];
}

export function judgementOf(verdict: Verdict): Judgement {
  switch (verdict.kind) {
    case 'scored':
      return { kind: 'scored', fitness: verdict.fitness as Fitness, parts: verdict.parts };
    case 'infeasible':
      return { kind: 'infeasible' };
    case 'failed':
      return { kind: 'failed' };
  }
}

/** Asked by the optimizer itself: not to confirm or refine what it found. */
export const isOfSearch = ({ confirms, refines }: TrialRecord): boolean =>
  confirms === null && refines === undefined;

/**
 * Brings a fresh optimizer to where the journal ends, by asking and telling the same again.
 * @throws when it proposes something else: the fields, the seed or the version have changed
 */
export function replay(entries: Iterable<JournalEntry>, optimizer: Optimizer): Progress {
  const told: TrialRecord[] = [];
  const recovered: TrialRecord[] = [];
  const pending = new Map<TrialId, Suggestion>();
  for (const entry of entries) {
    if (entry.type === 'asked') {
      const { suggestion } = entry;
      pending.set(suggestion.trialId, suggestion);
      if (isConfirmation(suggestion) || isRefinement(suggestion)) continue;
      const again = optimizer.ask();
      if (again?.trialId !== suggestion.trialId || paramsKey(again.params) !== paramsKey(suggestion.params)) {
        throw new ModelEvalStateError(
          `The journal does not fit: trial ${suggestion.trialId} was another configuration`,
          {},
          {
            blame: 'operator',
            remedy: 'The settings or the version changed since the run; start a new run instead.',
          },
        );
      }
    } else if (entry.type === 'told') {
      const { record } = entry;
      if (isOfSearch(record)) optimizer.tell(record.trial_id, judgementOf(record.verdict));
      pending.delete(record.trial_id);
      told.push(record);
    } else if (entry.type === 'recovered') recovered.push(entry.record);
  }
  return { told, recovered, pending: [...pending.values()] };
}
