import { distance } from '../core/fitness/slo.ts';
import type { ServingParams } from '../core/space/field.ts';
import { isScored, type ScoredRecord, type TrialRecord } from './records.ts';

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

  /** Cost; Infinity while nothing is within the SLOs. */
  get fitness(): number {
    const { verdict } = this.#best ?? {};
    return verdict === undefined || verdict.violations.length > 0 ? Infinity : verdict.fitness;
  }
}
