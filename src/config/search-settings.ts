import type { Coefficients } from '../core/pso/step.ts';
import { constriction } from '../core/pso/step.ts';
import type { Strategy } from '../core/pso/strategy.ts';
import type { Field } from '../core/space/field.ts';
import type { SearchSpace } from '../core/space/space.ts';
import { isTunableLoad } from '../core/tuning/load-fields.ts';
import type { TopLevel } from './schema.ts';
import type { LoadRule } from './space-settings.ts';

/** How configurations and loads are searched. */

export interface Search {
  readonly algorithm: 'pso' | 'random';
  readonly particles: number;
  readonly maxEvaluations: number;
  readonly synchronous: boolean;
  /** A model picks among the moves that the swarm proposes. */
  readonly surrogate: boolean;
  readonly coefficients: Coefficients;
  readonly strategy: Strategy;
  readonly ftol: number;
  readonly ftolIter: number;
}

/** As much load as possible first, then at the rate that was reached; then the best are brought to their SLOs. */
export interface TwoStage {
  /** The fields as the user has them: during the search the load is fixed. */
  readonly fields: readonly Field[];
  readonly maxSteps: number;
  readonly stepSize: number;
  readonly sloCoefficient: number;
  /** The rate of the second stage, by what the first one got through. */
  readonly multiplier: number;
}

/** The load of every configuration is searched while its service runs. */
export interface NestedLoad {
  /** The fields as the user has them: the swarm's have no load. */
  readonly fields: readonly Field[];
  /** Benchmarks a configuration, at most. */
  readonly probes: number;
}

function strategyOf({ pso_strategy: given = {} }: TopLevel): Strategy {
  const known = Object.entries(given).filter(([, schedule]) => schedule !== 'random');
  return Object.fromEntries(known);
}

export function searchOf(top: TopLevel, flags: { readonly maxEvaluations?: number | undefined }): Search {
  const { c1, c2, w } = { ...constriction, ...top.pso_options };
  const particles = Math.min(top.n_particles, 200);
  return {
    algorithm: top.algorithm,
    particles,
    maxEvaluations: flags.maxEvaluations ?? top.max_evaluations ?? particles * Math.min(top.iters, 200),
    synchronous: top.synchronous,
    surrogate: top.surrogate,
    coefficients: { c1: c1 ?? constriction.c1, c2: c2 ?? constriction.c2, w: w ?? constriction.w },
    strategy: strategyOf(top),
    ftol: top.ftol,
    ftolIter: top.ftol_iter,
  };
}

/** The original's key, where nobody says; a search where there is a load to search. */
export function loadRuleOf({ load_search: given, two_stage }: TopLevel, { fields }: SearchSpace): LoadRule {
  const rule = given ?? (two_stage ? 'two_stage' : 'slo');
  return rule === 'slo' && !fields.some(isTunableLoad) ? 'fixed' : rule;
}

export function loadOf(
  top: TopLevel,
  { fields }: SearchSpace,
  rule: LoadRule,
): { readonly twoStage: TwoStage | undefined; readonly nestedLoad: NestedLoad | undefined } {
  const { max_fine_tune: steps, step_size: stepSize, slo_coefficient: sloCoefficient, multiplier } = top;
  const twoStage = { fields, maxSteps: Math.min(steps, 200), stepSize, sloCoefficient, multiplier };
  return {
    twoStage: rule === 'two_stage' ? twoStage : undefined,
    nestedLoad: rule === 'slo' ? { fields, probes: top.load_probes } : undefined,
  };
}
