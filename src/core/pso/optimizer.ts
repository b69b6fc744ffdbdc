import type { Fitness, TrialId } from '../../base/units.ts';
import type { Parts } from '../fitness/composition.ts';
import type { ServingParams } from '../space/field.ts';
import type { SearchSpace, UnitVector } from '../space/space.ts';

export type Origin =
  'current' | 'preset' | 'initial' | 'swarm' | 'jitter' | 'random' | 'fine-tune' | 'confirmation';

/** A configuration that the search wants to see measured. */
export interface Suggestion {
  readonly trialId: TrialId;
  /** The particle that it moves; random search has none. */
  readonly particle: number;
  /** How often this particle has been asked before. */
  readonly generation: number;
  readonly position: UnitVector;
  readonly params: ServingParams;
  readonly origin: Origin;
  /** Of a confirmation: the trial whose configuration is measured again. */
  readonly confirms?: TrialId;
  /** Of fine-tuning: the trial whose load is brought to its SLOs. */
  readonly refines?: TrialId;
}

const searching: readonly Origin[] = ['preset', 'initial', 'swarm', 'jitter', 'random'];

/** Its numbers only have to be good enough to go on; the others are what an answer is made of. */
export const isSearch = ({ origin }: Pick<Suggestion, 'origin'>): boolean => searching.includes(origin);

/** What the search needs to know of an outcome. No Infinity and no NaN gets in here. */
export type Judgement =
  | { readonly kind: 'scored'; readonly fitness: Fitness; readonly parts?: Parts | undefined }
  /** The configuration is at fault. */
  | { readonly kind: 'infeasible' }
  /** The machines are at fault: nothing is known of the configuration. */
  | { readonly kind: 'failed' };

export interface Incumbent {
  readonly trialId: TrialId;
  readonly position: UnitVector;
  readonly fitness: Fitness;
}

/**
 * Ask and tell. Asking draws random numbers, telling never does, so the state is a pure function of the sequence
 * of calls: replaying a journal restores it.
 */
export interface Optimizer {
  /** undefined: nothing to start now, because all is asked or because a generation is being waited for. */
  ask(): Suggestion | undefined;
  /** @throws on an unknown or already told trial */
  tell(trialId: TrialId, judgement: Judgement): void;
  readonly best: Incumbent | undefined;
  /** Nothing will be asked any more, whatever is told. */
  readonly done: boolean;
}

/** A configuration and its cost. */
export interface Measured {
  readonly params: ServingParams;
  readonly fitness: number;
  readonly parts?: Parts | undefined;
}

export interface SearchOptions {
  readonly space: SearchSpace;
  readonly seed: number;
  /** How many configurations may be asked in all, the present one included. */
  readonly maxEvaluations: number;
  /** Configurations of experts, tried after the present one: what they leave out stays as it is at present. */
  readonly presets?: readonly ServingParams[] | undefined;
  /** What an earlier study measured. */
  readonly history?: readonly Measured[] | undefined;
}
