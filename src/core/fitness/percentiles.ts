import { mean, quantileSorted, standardDeviation } from 'simple-statistics';
import type { Percentiles } from './fitness.ts';

export interface Distribution extends Percentiles {
  readonly std: number;
}

/** undefined for no values. */
export function distribution(values: readonly number[]): Distribution | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  return {
    mean: mean(sorted),
    median: quantileSorted(sorted, 0.5),
    std: standardDeviation(sorted),
    p90: quantileSorted(sorted, 0.9),
    p95: quantileSorted(sorted, 0.95),
    p99: quantileSorted(sorted, 0.99),
  };
}

/** Without what only a file wants to know. */
export function percentilesOf({ mean, median, p90, p95, p99 }: Percentiles): Percentiles {
  return { mean, median, p90, p95, p99 };
}
