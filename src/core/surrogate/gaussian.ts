import { nextRow, solveLower, solveUpper, type Triangle } from './cholesky.ts';

/**
 * Gaussian process regression (Rasmussen & Williams 2006, algorithm 2.1) with a Matérn 5/2 kernel, a length scale a
 * coordinate. Points are positions of the unit cube; a coordinate without order is equal or it is not.
 */

export type Point = readonly number[];

export interface Hyperparameters {
  /** By coordinate. */
  readonly lengths: readonly number[];
  /** Variance of the noise over that of the signal. */
  readonly noise: number;
}

export interface Prediction {
  readonly mean: number;
  readonly sd: number;
}

/** What is assumed where the data say nothing. */
const usual = { length: 0.6, noise: 1e-2 } as const;
/** Of log evidence: what explains hardly better is not worth a new factorisation. */
const leastGain = 0.1;
const limits = { length: [0.05, 10], noise: [1e-4, 1] } as const;

/** Of a squared scaled distance. */
function matern(r2: number): number {
  const r = Math.sqrt(5 * r2);
  return (1 + r + (5 * r2) / 3) * Math.exp(-r);
}

const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
};

/** How points vary together, factorised; it grows with what is measured. */
export class Covariance {
  readonly #unordered: readonly boolean[];
  readonly #parameters: Hyperparameters;
  readonly #scales: readonly number[];
  readonly points: Point[] = [];
  readonly lower: Float64Array[] = [];

  constructor(unordered: readonly boolean[], parameters: Hyperparameters) {
    this.#unordered = unordered;
    this.#parameters = parameters;
    this.#scales = parameters.lengths.map((length) => 1 / (length * length));
  }

  add(point: Point): void {
    this.lower.push(nextRow(this.lower, this.with(point), 1 + this.#parameters.noise));
    this.points.push(point);
  }

  /** With more points; this one stays as it is. */
  extended(more: readonly Point[]): Covariance {
    const copy = new Covariance(this.#unordered, this.#parameters);
    copy.points.push(...this.points);
    copy.lower.push(...this.lower);
    for (const point of more) copy.add(point);
    return copy;
  }

  /** Of a point with those that are there. */
  with(point: Point): Float64Array {
    const all = new Float64Array(this.points.length);
    for (let i = 0; i < all.length; i++) {
      const other = this.points[i] as Point;
      let r2 = 0;
      for (let d = 0; d < point.length; d++) {
        const gap = (point[d] as number) - (other[d] as number);
        const squared = this.#unordered[d] === true ? Number(Math.abs(gap) > 1e-9) : gap * gap;
        r2 += squared * (this.#scales[d] as number);
      }
      all[i] = matern(r2);
    }
    return all;
  }
}

const parametersOf = (values: readonly number[]): Hyperparameters => ({
  lengths: values.slice(0, -1),
  noise: values.at(-1) as number,
});

/** Log of the marginal likelihood, its amplitude at its best, and a weak prior. */
function evidence(
  points: readonly Point[],
  y: Float64Array,
  unordered: readonly boolean[],
  parameters: Hyperparameters,
): number {
  const covariance = new Covariance(unordered, parameters);
  for (const point of points) covariance.add(point);
  const z = solveLower(covariance.lower, y);
  const determinant = covariance.lower.reduce((sum, row) => sum + Math.log(row.at(-1) as number), 0);
  const away = (value: number, from: number, sd: number): number => (Math.log(value / from) / sd) ** 2 / 2;
  const prior =
    parameters.lengths.reduce((sum, length) => sum + away(length, usual.length, 1), 0) +
    away(parameters.noise, usual.noise, 2);
  return -0.5 * y.length * Math.log(Math.max(1e-12, dot(z, z) / y.length)) - determinant - prior;
}

/**
 * Looks for the hyperparameters that explain results best, a coordinate at a time, a little further with every call:
 * nothing waits for a search through all of them. What comes out depends on the calls alone.
 */
export class HyperparameterSearch {
  readonly #unordered: readonly boolean[];
  /** All of them are one vector while they are searched: the noise is the last. */
  #values: readonly number[];
  #turn = 0;

  constructor(unordered: readonly boolean[]) {
    this.#unordered = unordered;
    this.#values = [...unordered.map(() => usual.length), usual.noise];
  }

  get parameters(): Hyperparameters {
    return parametersOf(this.#values);
  }

  /** `y` has a mean of 0. @returns whether better ones were found */
  improve(points: readonly Point[], y: Float64Array, tries: number): boolean {
    const before = this.#values;
    const worth = (values: readonly number[]): number =>
      evidence(points, y, this.#unordered, parametersOf(values));
    let best = worth(before);
    for (let i = 0; i < tries; i++) {
      const tried = this.#next();
      const found = worth(tried);
      if (found > best + leastGain) [best, this.#values] = [found, tried];
    }
    return this.#values !== before;
  }

  /** Coordinate by coordinate, up and down; in large steps the first time, in small ones from then on. */
  #next(): readonly number[] {
    const turn = this.#turn++;
    const count = this.#values.length;
    const factor = turn < 2 * count ? 2.5 : 1.5;
    const changed = Math.floor(turn / 2) % count;
    const [low, high] = changed === count - 1 ? limits.noise : limits.length;
    return this.#values.map((value, i) =>
      i === changed ? Math.min(high, Math.max(low, turn % 2 === 0 ? value * factor : value / factor)) : value,
    );
  }
}

export class GaussianProcess {
  readonly #covariance: Covariance;
  readonly #lower: Triangle;
  readonly #alpha: Float64Array;
  readonly #mean: number;
  readonly #amplitude: number;

  /** `y` a point of the covariance, in any unit. */
  constructor(covariance: Covariance, y: readonly number[]) {
    this.#covariance = covariance;
    this.#lower = covariance.lower;
    this.#mean = y.reduce((sum, yi) => sum + yi, 0) / y.length;
    const z = solveLower(
      this.#lower,
      Float64Array.from(y, (yi) => yi - this.#mean),
    );
    this.#alpha = solveUpper(this.#lower, z);
    this.#amplitude = Math.max(1e-12, dot(z, z) / y.length);
  }

  mean(point: Point): number {
    return this.#mean + dot(this.#covariance.with(point), this.#alpha);
  }

  /** Of the function, without the noise of measuring it. */
  predict(point: Point): Prediction {
    const k = this.#covariance.with(point);
    const v = solveLower(this.#lower, k);
    return {
      mean: this.#mean + dot(k, this.#alpha),
      sd: Math.sqrt(Math.max(1e-12, this.#amplitude * (1 - dot(v, v)))),
    };
  }
}
