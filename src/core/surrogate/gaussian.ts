import { cholesky, solveLower, solveUpper } from './cholesky.ts';

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
const limits = { length: [0.05, 10], noise: [1e-4, 1] } as const;

/** Squared distances, unscaled: a matrix of pairs for every coordinate. */
function squares(points: readonly Point[], unordered: readonly boolean[]): Float64Array[] {
  const n = points.length;
  return unordered.map((hamming, d) => {
    const pairs = new Float64Array(n * n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < i; j++) {
        const gap = ((points[i] as Point)[d] as number) - ((points[j] as Point)[d] as number);
        pairs[i * n + j] = hamming ? Number(Math.abs(gap) > 1e-9) : gap * gap;
      }
    }
    return pairs;
  });
}

/** Of a squared scaled distance. */
function matern(r2: number): number {
  const r = Math.sqrt(5 * r2);
  return (1 + r + (5 * r2) / 3) * Math.exp(-r);
}

function covariance(
  pairs: readonly Float64Array[],
  n: number,
  { lengths, noise }: Hyperparameters,
): Float64Array {
  const scales = lengths.map((length) => 1 / (length * length));
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      let r2 = 0;
      for (let d = 0; d < pairs.length; d++)
        r2 += ((pairs[d] as Float64Array)[i * n + j] as number) * (scales[d] as number);
      matrix[i * n + j] = matern(r2);
    }
    matrix[i * n + i] = 1 + noise;
  }
  return matrix;
}

const dot = (a: Float64Array, b: Float64Array): number =>
  a.reduce((sum, ai, i) => sum + ai * (b[i] as number), 0);

/** Log of the marginal likelihood, its amplitude at its best, and a weak prior. */
function evidence(pairs: readonly Float64Array[], y: Float64Array, parameters: Hyperparameters): number {
  const n = y.length;
  const lower = cholesky(covariance(pairs, n, parameters), n);
  if (lower === undefined) return -Infinity;
  const z = solveLower(lower, y);
  let determinant = 0;
  for (let i = 0; i < n; i++) determinant += Math.log(lower[i * n + i] as number);
  const away = (value: number, from: number, sd: number): number => (Math.log(value / from) / sd) ** 2 / 2;
  const prior =
    parameters.lengths.reduce((sum, length) => sum + away(length, usual.length, 1), 0) +
    away(parameters.noise, usual.noise, 2);
  return -0.5 * n * Math.log(Math.max(1e-12, dot(z, z) / n)) - determinant - prior;
}

/** A coordinate at a time, in steps that become smaller; deterministic. */
export function fitHyperparameters(
  points: readonly Point[],
  y: Float64Array,
  unordered: readonly boolean[],
  start?: Hyperparameters,
): Hyperparameters {
  const pairs = squares(points, unordered);
  // All of them are one vector while they are searched: the noise is the last.
  let values = [...(start?.lengths ?? unordered.map(() => usual.length)), start?.noise ?? usual.noise];
  const parametersOf = (all: readonly number[]): Hyperparameters => ({
    lengths: all.slice(0, -1),
    noise: all.at(-1) as number,
  });
  let best = evidence(pairs, y, parametersOf(values));
  const tryAt = (i: number, factor: number): void => {
    const [low, high] = i === values.length - 1 ? limits.noise : limits.length;
    const tried = values.map((value, d) => (d === i ? Math.min(high, Math.max(low, value * factor)) : value));
    const found = evidence(pairs, y, parametersOf(tried));
    if (found > best) [best, values] = [found, tried];
  };
  for (const factor of [2.5, 1.5]) {
    for (let i = 0; i < values.length; i++) {
      tryAt(i, factor);
      tryAt(i, 1 / factor);
    }
  }
  return parametersOf(values);
}

export class GaussianProcess {
  readonly #points: readonly Point[];
  readonly #unordered: readonly boolean[];
  readonly #scales: readonly number[];
  readonly #lower: Float64Array;
  readonly #alpha: Float64Array;
  readonly #mean: number;
  readonly #amplitude: number;

  /** `y` a point, in any unit. */
  constructor(
    points: readonly Point[],
    y: readonly number[],
    unordered: readonly boolean[],
    parameters: Hyperparameters,
  ) {
    const n = points.length;
    this.#points = points;
    this.#unordered = unordered;
    this.#scales = parameters.lengths.map((length) => 1 / (length * length));
    this.#mean = y.reduce((sum, yi) => sum + yi, 0) / n;
    const centred = Float64Array.from(y, (yi) => yi - this.#mean);
    const pairs = squares(points, unordered);
    let lower: Float64Array | undefined;
    for (let { noise } = parameters; lower === undefined; noise *= 10)
      lower = cholesky(covariance(pairs, n, { ...parameters, noise }), n);
    this.#lower = lower;
    const z = solveLower(lower, centred);
    this.#alpha = solveUpper(lower, z);
    this.#amplitude = Math.max(1e-12, dot(z, z) / n);
  }

  mean(point: Point): number {
    return this.#mean + dot(this.#covariances(point), this.#alpha);
  }

  /** Of the function, without the noise of measuring it. */
  predict(point: Point): Prediction {
    const k = this.#covariances(point);
    const v = solveLower(this.#lower, k);
    return {
      mean: this.#mean + dot(k, this.#alpha),
      sd: Math.sqrt(Math.max(1e-12, this.#amplitude * (1 - dot(v, v)))),
    };
  }

  #covariances(point: Point): Float64Array {
    return Float64Array.from(this.#points, (other) => {
      let r2 = 0;
      for (let d = 0; d < point.length; d++) {
        const gap = (point[d] as number) - (other[d] as number);
        r2 +=
          (this.#unordered[d] === true ? Number(Math.abs(gap) > 1e-9) : gap * gap) *
          (this.#scales[d] as number);
      }
      return matern(r2);
    });
  }
}
