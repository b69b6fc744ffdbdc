import { mean, quantileSorted, standardDeviation } from 'simple-statistics';
import type { Percentiles } from './fitness.ts';
import type { SloStatistic } from './slo.ts';

export interface Distribution extends Percentiles {
  readonly std: number;
}

/** Of a percentile such as p99.9: 0.999; undefined for others. */
export function quantileOf(statistic: SloStatistic): number | undefined {
  if (statistic === 'median') return 0.5;
  return statistic === 'mean' ? undefined : Number(statistic.slice(1)) / 100;
}

/** With further percentiles, where they are asked for; undefined for no values. */
export function distribution(
  values: readonly number[],
  more: readonly SloStatistic[] = [],
): Distribution | undefined {
  if (values.length === 0) return undefined;
  // Numbers sort much faster where nothing else can be in the list.
  const sorted = [...Float64Array.from(values).sort()];
  const others = more.map((name) => [name, quantileSorted(sorted, quantileOf(name) ?? 0.5)] as const);
  return {
    ...Object.fromEntries(others.filter(([name]) => name !== 'mean')),
    mean: mean(sorted),
    median: quantileSorted(sorted, 0.5),
    std: standardDeviation(sorted),
    p90: quantileSorted(sorted, 0.9),
    p95: quantileSorted(sorted, 0.95),
    p99: quantileSorted(sorted, 0.99),
  };
}

/** Without what only a file wants to know. */
export function percentilesOf({ std: _std, ...percentiles }: Distribution): Percentiles {
  return percentiles;
}
