import type { TrialId } from '../base/units.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { worth } from '../core/fitness/recommend.ts';
import { distance } from '../core/fitness/slo.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import { paramsKey } from '../core/space/space.ts';
import { bestOf, candidates, isPresent, type Candidate } from '../parallel/candidates.ts';
import type { TrialRecord } from '../parallel/records.ts';

export interface ConfirmationOptions {
  /** How often each is measured again; 0: not at all. */
  readonly runs: number;
  /** How many of the best are. */
  readonly finalists: number;
  readonly slos: FitnessSettings;
}

/** As often are others tried in the place of finalists that do not hold. */
const waves = 3;

const isFirst = ({ confirms }: TrialRecord): boolean => confirms === null;

/**
 * Round by round, so that what drifts meets all of them alike; there and back, so that on one group the last of a round,
 * whose service still runs, is the first of the next.
 */
const rounds = (again: readonly Candidate[], runs: number): Omit<Suggestion, 'trialId'>[] =>
  Array.from({ length: runs }, (_, round) =>
    (round % 2 === 0 ? [...again] : [...again].reverse()).map(({ record }) => ({
      particle: 0,
      generation: round,
      position: [],
      params: record.params,
      origin: 'confirmation' as const,
      confirms: record.trial_id,
    })),
  ).flat();

/**
 * What is measured again before the answer, so that a lucky measurement does not win: the baseline and the finalists.
 * Where none of them holds, the next ones within the SLOs follow. Decided by what was told alone: the same before and
 * after an interruption.
 * @returns what is left of it
 */
export function confirmations(
  told: readonly TrialRecord[],
  { runs, finalists, slos }: ConfirmationOptions,
): Omit<Suggestion, 'trialId'>[] {
  const measured = candidates(told.filter(isFirst), slos);
  const baseline = measured.filter(({ record }) => isPresent(record));
  /** Within the SLOs first, by the objective; then by how far outside. */
  const better = (a: Candidate, b: Candidate): number => {
    const outside = distance(a.violations) - distance(b.violations);
    return outside !== 0 ? outside : worth(b, slos.objective) - worth(a, slos.objective);
  };
  const best = measured.filter(({ record }) => !isPresent(record)).sort(better);
  const asked = rounds([...baseline, ...best.slice(0, finalists)], runs);
  for (let wave = 1; wave < waves && finalists > 0; wave++) {
    const keys = new Set(asked.map(keyOf));
    // As it was when this wave was decided, whatever has come since.
    const then = told.filter((record) => isFirst(record) || keys.has(keyOf(record)));
    if (then.length - told.filter(isFirst).length < asked.length) break;
    const holds = bestOf(then, slos);
    if (holds === undefined || holds.confirmations.length > 0) break;
    const next = best.slice(wave * finalists, (wave + 1) * finalists);
    asked.push(
      ...rounds(
        next.filter(({ violations }) => violations.length === 0),
        runs,
      ),
    );
  }
  return without(
    asked,
    told.filter((record) => !isFirst(record)),
  );
}

type Confirming = Pick<TrialRecord, 'params'> & { readonly confirms?: TrialId | null };

const keyOf = ({ confirms, params }: Confirming): string => `${confirms} ${paramsKey(params)}`;

/** Those that are not told yet, each as often as it is missing. */
function without<T extends Confirming>(asked: readonly T[], told: readonly Confirming[]): T[] {
  const done = new Map<string, number>();
  for (const one of told) done.set(keyOf(one), (done.get(keyOf(one)) ?? 0) + 1);
  return asked.filter((one) => {
    const left = done.get(keyOf(one)) ?? 0;
    done.set(keyOf(one), left - 1);
    return left <= 0;
  });
}

export const isConfirmation = (suggestion: Suggestion): suggestion is Suggestion & { confirms: TrialId } =>
  suggestion.origin === 'confirmation';
