import { cost, type FitnessSettings, type Judged } from '../core/fitness/fitness.ts';
import { worth } from '../core/fitness/recommend.ts';
import { distance, violations } from '../core/fitness/slo.ts';
import type { ServingParams } from '../core/space/field.ts';
import { isScored, judgedOf, type ScoredRecord, type TrialRecord } from './records.ts';

/** The best so far, within its SLOs. */
export interface Limit {
  readonly fitness: number;
  readonly performance: Judged;
}

export const limitOf = (verdict: ScoredRecord['verdict']): Limit => ({
  fitness: verdict.fitness,
  performance: judgedOf(verdict),
});

export const better = (a: Limit | undefined, b: Limit | undefined): Limit | undefined =>
  a === undefined || (b !== undefined && b.fitness < a.fitness) ? b : a;

/** Whether what a measurement comes to at best is neither the least cost nor the best answer. */
export function isHopeless(bounds: Judged, limit: Limit, settings: FitnessSettings): boolean {
  if (cost(bounds, settings).sum <= limit.fitness) return false;
  if (violations(bounds, settings).length > 0) return true;
  const of = (performance: Judged, fitness: number): number =>
    worth({ performance, fitness, violations: [] }, settings.objective);
  return of(bounds, cost(bounds, settings).sum) <= of(limit.performance, limit.fitness);
}

/** The best that a study has measured so far: where load searches begin, and what is hopeless is measured against. */
export class Incumbent {
  #best: ScoredRecord | undefined;

  constructor(told: readonly TrialRecord[]) {
    for (const record of told) this.told(record);
  }

  told(record: TrialRecord): void {
    if (!isScored(record) || record.confirms !== null || record.verdict.censored === true) return;
    const { verdict } = record;
    const gain =
      this.#best === undefined
        ? Infinity
        : distance(this.#best.verdict.violations) - distance(verdict.violations);
    if (gain > 0 || (gain === 0 && verdict.fitness < this.fitness)) this.#best = record;
  }

  get params(): ServingParams | undefined {
    return this.#best?.params;
  }

  /** What is to be beaten; undefined while nothing is within the SLOs. */
  get limit(): Limit | undefined {
    const { verdict } = this.#best ?? {};
    return verdict === undefined || verdict.violations.length > 0 ? undefined : limitOf(verdict);
  }

  /** Cost; Infinity while nothing is within the SLOs. */
  get fitness(): number {
    return this.limit?.fitness ?? Infinity;
  }
}
