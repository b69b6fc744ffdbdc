/**
 * Density and distribution of the standard normal; Abramowitz & Stegun 26.2.17, error below 1e-7. What is one less an
 * error function has no tail, and candidates that are far behind are told apart by theirs.
 */
const density = (z: number): number => Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI);
function distribution(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z));
  const tail =
    density(z) *
    t *
    (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return z > 0 ? 1 - tail : tail;
}

/** E[max(best − f, 0)] for f normal (Jones, Schonlau & Welch 1998). */
export function expectedImprovement(mean: number, sd: number, best: number): number {
  const z = (best - mean) / sd;
  return Math.max(0, (best - mean) * distribution(z) + sd * density(z));
}

/** Where the standard normal's distribution is p, to 1e-7. */
function quantile(p: number): number {
  let [low, high] = [-6, 6];
  while (high - low > 1e-7) {
    const middle = (low + high) / 2;
    if (distribution(middle) < p) low = middle;
    else high = middle;
  }
  return low;
}

/** The root above 1 of x^(n+1) = x + 1, whose powers make the sequence below (Roberts 2018); n = 1: the golden ratio. */
function generalisedGolden(n: number): number {
  let x = 2;
  for (let i = 0; i < 40; i++) x = (1 + x) ** (1 / (n + 1));
  return x;
}

const drawn = new Map<string, readonly (readonly number[])[]>();

/** With a mean of 0 and a spread of 1. */
function standardised(values: readonly number[]): readonly number[] {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return values.map((value) => (value - mean) / Math.sqrt(variance));
}

/** Points of a standard normal in n dimensions, spread evenly by an additive recurrence: the same ones every time. */
export function normalPoints(count: number, n: number): readonly (readonly number[])[] {
  const known = drawn.get(`${count}/${n}`);
  if (known !== undefined) return known;
  const golden = generalisedGolden(n);
  const columns = Array.from({ length: n }, (_, d) =>
    standardised(
      Array.from({ length: count }, (_unused, i) => quantile((0.5 + (i + 1) * golden ** -(d + 1)) % 1)),
    ),
  );
  const points = Array.from({ length: count }, (_, i) => columns.map((column) => column[i] as number));
  drawn.set(`${count}/${n}`, points);
  return points;
}
