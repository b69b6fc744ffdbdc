import { paramsKey } from '../core/space/space.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import { FineTune } from '../core/tuning/fine-tune.ts';
import { isRequestRate, isTunableLoad, loadValue } from '../core/tuning/load-fields.ts';
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
  return { ...params, [field.name]: loadValue(field, 2 * rate) };
}

/** With loads that the fields can have. */
function allowed(params: ServingParams, fields: readonly Field[]): ServingParams {
  const loads = fields.map((field) => [field.name, loadValue(field, Number(params[field.name]))] as const);
  return { ...params, ...Object.fromEntries(loads) };
}

/** Brings the load of the best configurations to their SLOs, several at a time; decided by what was told alone. */
export class Refinement {
  readonly #options: RefinementOptions;
  readonly #chains: Chain[];
  readonly #loads: readonly Field[];

  constructor(told: readonly TrialRecord[], options: RefinementOptions) {
    this.#options = options;
    this.#loads = options.fields.filter(isTunableLoad);
    this.#chains = this.#roots(told).map((record) => this.#begin(record));
    for (const record of told) this.tell(record);
  }

  /**
   * One whose service runs already, if there is one; undefined: all of them are over, or wait for an answer. Nothing
   * waits for ever: every chain has an end.
   */
  next(isWarm: (params: ServingParams) => boolean): Omit<Suggestion, 'trialId'> | undefined {
    const ready = this.#chains.filter(({ wanted, inFlight }) => wanted !== undefined && !inFlight);
    const chain = ready.find(({ wanted }) => wanted !== undefined && isWarm(wanted)) ?? ready[0];
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
    const moved = isScored(record) ? chain.tuner.next(record.params, record.verdict.performance) : undefined;
    const next = moved && allowed(moved, this.#loads);
    const isNew = next !== undefined && !chain.seen.has(paramsKey(next));
    chain.wanted = isNew && chain.steps <= this.#options.maxSteps ? next : undefined;
    if (next !== undefined) chain.seen.add(paramsKey(next));
  }

  #roots(told: readonly TrialRecord[]): ScoredRecord[] {
    const { finalists, maxSteps, slos, sloCoefficient: slo_coefficient } = this.#options;
    if (maxSteps === 0 || this.#loads.length === 0) return [];
    const measured = told
      .filter(isCandidate)
      .filter(isScored)
      .filter(({ verdict }) => verdict.censored !== true);
    const rated = measured.map((record) => ({ record, ...record.verdict }));
    return refinementCandidates(rated, finalists, { ...slos, slo_coefficient }).map(({ record }) => record);
  }

  #begin({ trial_id: root, params }: ScoredRecord): Chain {
    const { slos, stepSize: step_size, sloCoefficient: slo_coefficient } = this.#options;
    const wanted = firstStep(params, this.#loads);
    // TPOT moves the concurrency, so it must count.
    const tuned = this.#loads.filter((field) => slos.tpot_penalty !== 0 || isRequestRate(field));
    const tuner = new FineTune({ ...slos, step_size, slo_coefficient }, tuned);
    return { root, tuner, seen: new Set([paramsKey(wanted)]), steps: 0, inFlight: false, wanted };
  }
}

export const isRefinement = ({ origin }: Suggestion): boolean => origin === 'fine-tune';
