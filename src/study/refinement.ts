import { paramsKey } from '../core/space/space.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import { FineTune } from '../core/tuning/fine-tune.ts';
import { isConcurrency, isRequestRate } from '../core/tuning/load-fields.ts';
import { refinementCandidates } from '../core/tuning/refinement.ts';
import type { TrialId } from '../base/units.ts';
import { isScored, type ScoredRecord, type TrialRecord } from '../parallel/records.ts';

export interface RefinementOptions {
  /** The fields as the user has them: the load is free again. */
  readonly fields: readonly Field[];
  readonly slos: FitnessSettings;
  /** How many of the best are refined. */
  readonly finalists: number;
  /** Steps of each. */
  readonly maxSteps: number;
  readonly stepSize: number;
  readonly sloCoefficient: number;
}

/** One configuration on its way to its SLOs. */
interface Chain {
  readonly root: TrialId;
  readonly tuner: FineTune;
  readonly seen: Set<string>;
  steps: number;
  inFlight: boolean;
  /** What it wants to have measured; undefined: nothing any more. */
  wanted: ServingParams | undefined;
}

const isCandidate = ({ confirms, refines, reused_from }: TrialRecord): boolean =>
  confirms === null && refines === undefined && reused_from === null;

/** Twice the rate that was found: the way back is what the steps are for. */
function firstStep(params: ServingParams, fields: readonly Field[]): ServingParams {
  const field = fields.find(isRequestRate);
  const rate = field && Number(params[field.name]);
  if (field === undefined || rate === undefined || Number.isNaN(rate)) return params;
  const doubled = Math.min(field.max, Math.max(field.min, 2 * rate));
  return { ...params, [field.name]: field.dtype === 'int' ? Math.trunc(doubled) : doubled };
}

/** Brings the load of the best configurations to their SLOs, several at a time; decided by what was told alone. */
export class Refinement {
  readonly #options: RefinementOptions;
  readonly #chains: Chain[];

  constructor(told: readonly TrialRecord[], options: RefinementOptions) {
    this.#options = options;
    this.#chains = this.#roots(told).map((record) => this.#begin(record));
    for (const record of told) this.tell(record);
  }

  /** undefined: all of them are over, or wait for an answer. */
  next(): Omit<Suggestion, 'trialId'> | undefined {
    const chain = this.#chains.find(({ wanted, inFlight }) => wanted !== undefined && !inFlight);
    if (chain?.wanted === undefined) return undefined;
    chain.inFlight = true;
    return {
      particle: 0,
      generation: chain.steps,
      position: [],
      params: chain.wanted,
      origin: 'fine-tune',
      refines: chain.root,
    };
  }

  tell(record: TrialRecord): void {
    const chain = this.#chains.find(({ root }) => root === record.refines);
    if (chain === undefined) return;
    chain.inFlight = false;
    chain.steps++;
    const next = isScored(record) ? chain.tuner.next(record.params, record.verdict.performance) : undefined;
    const isNew = next !== undefined && !chain.seen.has(paramsKey(next));
    chain.wanted = isNew && chain.steps <= this.#options.maxSteps ? next : undefined;
    if (next !== undefined) chain.seen.add(paramsKey(next));
  }

  #roots(told: readonly TrialRecord[]): ScoredRecord[] {
    const { fields, finalists, maxSteps, slos, sloCoefficient: slo_coefficient } = this.#options;
    if (maxSteps === 0 || !fields.some((field) => isConcurrency(field) || isRequestRate(field))) return [];
    const measured = told.filter(isCandidate).filter(isScored);
    const rated = measured.map((record) => ({ record, ...record.verdict }));
    return refinementCandidates(rated, finalists, { ...slos, slo_coefficient }).map(({ record }) => record);
  }

  #begin({ trial_id: root, params }: ScoredRecord): Chain {
    const { fields, slos, stepSize: step_size, sloCoefficient: slo_coefficient } = this.#options;
    const wanted = firstStep(params, fields);
    const tuner = new FineTune({ ...slos, step_size, slo_coefficient }, fields);
    return { root, tuner, seen: new Set([paramsKey(wanted)]), steps: 0, inFlight: false, wanted };
  }
}

export const isRefinement = ({ origin }: Suggestion): boolean => origin === 'fine-tune';
