import type { TrialId } from '../base/units.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { distance } from '../core/fitness/slo.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import { candidates, type Candidate } from '../parallel/candidates.ts';
import type { TrialRecord } from '../parallel/records.ts';

export interface ConfirmationOptions {
  /** How often each is measured again; 0: not at all. */
  readonly runs: number;
  /** How many of the best are. */
  readonly finalists: number;
  readonly slos: FitnessSettings;
}

/** Within the SLOs first, by throughput; then by how far outside. */
function better(a: Candidate, b: Candidate): number {
  const outside = distance(a.violations) - distance(b.violations);
  return outside !== 0 ? outside : (b.performance.generate_speed ?? 0) - (a.performance.generate_speed ?? 0);
}

/**
 * What is measured again before the answer, so that a lucky measurement does not win: the baseline and the finalists,
 * round by round. Decided by the search's own trials alone: the same before and after an interruption.
 */
export function confirmations(
  told: readonly TrialRecord[],
  { runs, finalists, slos }: ConfirmationOptions,
): Omit<Suggestion, 'trialId'>[] {
  const measured = candidates(
    told.filter(({ confirms }) => confirms === null),
    slos,
  );
  const baseline = measured.filter(({ record }) => record.trial_id === 0);
  const best = measured.filter(({ record }) => record.trial_id !== 0).sort(better);
  const again = [...baseline, ...best.slice(0, finalists)];
  return Array.from({ length: runs }, (_, round) =>
    again.map(({ record }) => ({
      particle: 0,
      generation: round,
      position: [],
      params: record.params,
      origin: 'confirmation' as const,
      confirms: record.trial_id,
    })),
  ).flat();
}

export const isConfirmation = (suggestion: Suggestion): suggestion is Suggestion & { confirms: TrialId } =>
  suggestion.origin === 'confirmation';
