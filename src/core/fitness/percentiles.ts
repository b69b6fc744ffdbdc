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

/** Numbers sort much faster where nothing else can be in the list. */
const sortedOf = (values: readonly number[]): number[] => [...Float64Array.from(values).sort()];

/** With further percentiles, where they are asked for; undefined for no values. */
export function distribution(
  values: readonly number[],
  more: readonly SloStatistic[] = [],
): Distribution | undefined {
  if (values.length === 0) return undefined;
  const sorted = sortedOf(values);
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

/** Each worked out when somebody asks for it: while a benchmark runs, hardly any of them is. All 0 for no values. */
export function percentilesOnDemand(
  values: readonly number[],
  more: readonly SloStatistic[] = [],
): Percentiles {
  let sorted: number[] | undefined;
  const at = (quantile: number): number =>
    values.length === 0 ? 0 : quantileSorted((sorted ??= sortedOf(values)), quantile);
  const all: Percentiles = {
    get mean() {
      return values.length === 0 ? 0 : mean(values);
    },
    get median() {
      return at(0.5);
    },
    get p90() {
      return at(0.9);
    },
    get p95() {
      return at(0.95);
    },
    get p99() {
      return at(0.99);
    },
  };
  for (const name of more)
    if (!(name in all))
      Object.defineProperty(all, name, { enumerable: true, get: () => at(quantileOf(name) ?? 0.5) });
  return all;
}

/** Without what only a file wants to know. */
export function percentilesOf({ std: _std, ...percentiles }: Distribution): Percentiles {
  return percentiles;
}
