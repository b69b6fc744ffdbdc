import type { Judged, Objective } from './fitness.ts';
import { distance, type Violation } from './slo.ts';

/** A measured configuration, as far as choosing one needs it. */
export interface Measured {
  readonly performance: Judged;
  readonly violations: readonly Violation[];
  readonly fitness?: number;
}

/** More is better. */
export function worth({ performance, fitness }: Measured, objective: Objective = 'throughput'): number {
  switch (objective) {
    case 'throughput':
      return performance.generate_speed ?? 0;
    case 'goodput':
      return performance.goodput ?? 0;
    case 'fitness':
      return -(fitness ?? Infinity);
  }
}

/** Of two configurations within their SLOs the one that is worth more; the earlier one when equal. */
export function recommend<T extends Measured>(measured: readonly T[], objective?: Objective): T | undefined {
  return measured
    .filter(({ violations }) => violations.length === 0)
    .reduce<T | undefined>(
      (best, one) => (best === undefined || worth(one, objective) > worth(best, objective) ? one : best),
      undefined,
    );
}

/** The one nearest to its SLOs, when none is within them. */
export function closest<T extends Measured>(measured: readonly T[], objective?: Objective): T | undefined {
  return measured.reduce<T | undefined>((best, one) => {
    if (best === undefined) return one;
    const gain = distance(best.violations) - distance(one.violations);
    return gain > 0 || (gain === 0 && worth(one, objective) > worth(best, objective)) ? one : best;
  }, undefined);
}
