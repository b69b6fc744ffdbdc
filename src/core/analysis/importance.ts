/** How much a parameter alone tells about the cost. */

export interface Sample {
  readonly value: number | string | boolean;
  /** In any unit. */
  readonly cost: number;
}

/** So many samples a bin at least, or chance alone explains them. */
const perBin = 5;
const mostBins = 8;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const mean = (values: readonly number[]): number => sum(values) / values.length;

/** Numbers in bins of equally many samples, equal ones together; anything else by its value. */
function binned(samples: readonly Sample[]): readonly (readonly number[])[] {
  const bins = new Map<string | number, number[]>();
  const isNumeric = samples.every(({ value }) => typeof value === 'number');
  const put = (bin: string | number, cost: number): void => {
    bins.set(bin, [...(bins.get(bin) ?? []), cost]);
  };
  if (!isNumeric) {
    for (const { value, cost } of samples) put(String(value), cost);
    return [...bins.values()];
  }
  const count = Math.min(mostBins, Math.floor(samples.length / perBin));
  const sorted = [...samples].sort((a, b) => Number(a.value) - Number(b.value));
  for (let from = 0, to = 0; from < sorted.length; from = to) {
    while (to < sorted.length && sorted[to]?.value === sorted[from]?.value) to++;
    // Where the middle of the equal ones is, so that the same is said whichever end they are at.
    const bin = Math.floor((((from + to - 1) / 2) * count) / sorted.length);
    for (const { cost } of sorted.slice(from, to)) put(bin, cost);
  }
  return [...bins.values()];
}

/**
 * Share of the variance of the cost that the parameter alone explains, 0 to 1: ε² (Kelley 1935), the correlation ratio
 * less what chance would explain. undefined: there is too little to tell. What only two parameters together do is not seen.
 */
export function importance(samples: readonly Sample[]): number | undefined {
  if (samples.length < 2 * perBin) return undefined;
  const all = mean(samples.map(({ cost }) => cost));
  const total = sum(samples.map(({ cost }) => (cost - all) ** 2));
  if (total === 0) return undefined;
  const bins = binned(samples);
  const within = sum(bins.map((costs) => sum(costs.map((cost) => (cost - mean(costs)) ** 2))));
  const freedom = samples.length - bins.length;
  if (freedom <= 0) return undefined;
  return Math.max(0, 1 - within / freedom / (total / (samples.length - 1)));
}
