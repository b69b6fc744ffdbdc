import type { PerformanceIndex } from './fitness.ts';
import { distance, type Violation } from './slo.ts';

/** A measured configuration, as far as choosing one needs it. */
export interface Measured {
  readonly performance: PerformanceIndex;
  readonly violations: readonly Violation[];
}

/** Of two configurations within their SLOs the one with more output tokens a second; the earlier one when equal. */
export function recommend<T extends Measured>(measured: readonly T[]): T | undefined {
  return measured
    .filter(({ violations }) => violations.length === 0)
    .reduce<T | undefined>(
      (best, one) => (best === undefined || speed(one) > speed(best) ? one : best),
      undefined,
    );
}

/** The one nearest to its SLOs, when none is within them. */
export function closest<T extends Measured>(measured: readonly T[]): T | undefined {
  return measured.reduce<T | undefined>((best, one) => {
    if (best === undefined) return one;
    const gain = distance(best.violations) - distance(one.violations);
    return gain > 0 || (gain === 0 && speed(one) > speed(best)) ? one : best;
  }, undefined);
}

const speed = ({ performance }: Measured): number => performance.generate_speed ?? 0;
