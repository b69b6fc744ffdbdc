import { dot, nextRow, solveLower, solveUpper, type Triangle } from './cholesky.ts';

/**
 * Gaussian process regression (Rasmussen & Williams 2006, algorithm 2.1) with a Matérn 3/2 kernel, a length scale a
 * coordinate: what engines do has corners, where one limit gives way to another. Points are positions of the unit cube;
 * a coordinate without order is equal or it is not.
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
  const r = Math.sqrt(3 * r2);
  return (1 + r) * Math.exp(-r);
}

/** How points vary together, factorised; it grows with what is measured. */
export class Covariance {
  readonly parameters: Hyperparameters;
  readonly points: Point[] = [];
  readonly lower: Float64Array[] = [];
  readonly #unordered: readonly boolean[];
  /** The coordinates that have an order, then those that have none. */
  readonly #order: readonly number[];
  readonly #ordered: number;
  /** By place in that order: the length scale, of a choice 1; and what a choice that differs adds. */
  readonly #units: Float64Array;
  readonly #penalties: Float64Array;
  /** The points in that order, in units of their length scales. */
  readonly #scaled: Float64Array[] = [];

  constructor(unordered: readonly boolean[], parameters: Hyperparameters) {
    this.parameters = parameters;
    this.#unordered = unordered;
    const all = unordered.map((_, d) => d);
    const ordered = all.filter((d) => unordered[d] !== true);
    this.#order = [...ordered, ...all.filter((d) => unordered[d] === true)];
    this.#ordered = ordered.length;
    const lengths = this.#order.map((d) => parameters.lengths[d] as number);
    this.#units = Float64Array.from(lengths, (length, k) => (k < this.#ordered ? length : 1));
    this.#penalties = Float64Array.from(lengths, (length) => 1 / (length * length));
  }

  add(point: Point): void {
    const scaled = this.#inLengths(point);
    const row = this.#with(scaled, new Float64Array(this.#scaled.length));
    this.lower.push(nextRow(this.lower, row, 1 + this.parameters.noise));
    this.points.push(point);
    this.#scaled.push(scaled);
  }

  /** With more points; this one stays as it is. */
  extended(more: readonly Point[]): Covariance {
    const copy = new Covariance(this.#unordered, this.parameters);
    copy.points.push(...this.points);
    copy.lower.push(...this.lower);
    copy.#scaled.push(...this.#scaled);
    for (const point of more) copy.add(point);
    return copy;
  }

  /** Of a point with those that are there, written to `into`, which has a place for each. */
  with(point: Point, into: Float64Array): Float64Array {
    return this.#with(this.#inLengths(point), into);
  }

  #inLengths(point: Point): Float64Array {
    const scaled = new Float64Array(point.length);
    for (let k = 0; k < scaled.length; k++)
      scaled[k] = (point[this.#order[k] as number] as number) / (this.#units[k] as number);
    return scaled;
  }

  /** Most of the time of an answer is spent here. */
  #with(scaled: Float64Array, into: Float64Array): Float64Array {
    const ordered = this.#ordered;
    const dimensions = scaled.length;
    for (let i = 0; i < into.length; i++) {
      const other = this.#scaled[i] as Float64Array;
      let r2 = 0;
      for (let k = 0; k < ordered; k++) {
        const gap = (scaled[k] as number) - (other[k] as number);
        r2 += gap * gap;
      }
      for (let k = ordered; k < dimensions; k++)
        if (Math.abs((scaled[k] as number) - (other[k] as number)) > 1e-9) r2 += this.#penalties[k] as number;
      into[i] = matern(r2);
    }
    return into;
  }
}

const parametersOf = (values: readonly number[]): Hyperparameters => ({
  lengths: values.slice(0, -1),
  noise: values.at(-1) as number,
});

/** Log of the marginal likelihood, its amplitude at its best, and a weak prior. */
function evidence({ lower, parameters }: Covariance, y: Float64Array): number {
  const z = solveLower(lower, y);
  const determinant = lower.reduce((sum, row) => sum + Math.log(row.at(-1) as number), 0);
  const away = (value: number, from: number, sd: number): number => (Math.log(value / from) / sd) ** 2 / 2;
  const prior =
    parameters.lengths.reduce((sum, length) => sum + away(length, usual.length, 1), 0) +
    away(parameters.noise, usual.noise, 2);
  return -0.5 * y.length * Math.log(Math.max(1e-12, dot(z, z, z.length) / y.length)) - determinant - prior;
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

  /**
   * `known` has the parameters so far; `y` has a mean of 0.
   * @returns the covariance of the same points with the best parameters so far
   */
  improve(known: Covariance, y: Float64Array, tries: number): Covariance {
    let [best, most] = [known, evidence(known, y)];
    for (let i = 0; i < tries; i++) {
      const tried = this.#next();
      const covariance = new Covariance(this.#unordered, parametersOf(tried)).extended(known.points);
      const found = evidence(covariance, y);
      if (found > most + leastGain) [best, most, this.#values] = [covariance, found, tried];
    }
    return best;
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
  /** For the covariances of one candidate: hundreds are looked at, and a new array for each costs more than its sums. */
  readonly #scratch: Float64Array;
  /** What the function is thought to be at the points themselves: y less its noise. */
  readonly fitted: readonly number[];

  /** `y` a point of the covariance, in any unit. */
  constructor(covariance: Covariance, y: readonly number[]) {
    this.#covariance = covariance;
    this.#lower = covariance.lower;
    this.#scratch = new Float64Array(y.length);
    this.#mean = y.reduce((sum, yi) => sum + yi, 0) / y.length;
    const z = solveLower(
      this.#lower,
      Float64Array.from(y, (yi) => yi - this.#mean),
    );
    this.#alpha = solveUpper(this.#lower, z);
    this.#amplitude = Math.max(1e-12, dot(z, z, z.length) / y.length);
    // K·α = y − σ²·α, so that no covariance has to be looked at again.
    this.fitted = y.map((yi, i) => yi - covariance.parameters.noise * (this.#alpha[i] as number));
  }

  mean(point: Point): number {
    return this.#mean + dot(this.#covariance.with(point, this.#scratch), this.#alpha, this.#alpha.length);
  }

  /** Of the function, without the noise of measuring it. */
  predict(point: Point): Prediction {
    const k = this.#covariance.with(point, this.#scratch);
    const mean = this.#mean + dot(k, this.#alpha, k.length);
    const v = solveLower(this.#lower, k, k);
    return {
      mean,
      sd: Math.sqrt(Math.max(1e-12, this.#amplitude * (1 - dot(v, v, v.length)))),
    };
  }
}
