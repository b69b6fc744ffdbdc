import {
  Covariance,
  GaussianProcess,
  HyperparameterSearch,
  type Point,
  type Prediction,
} from './gaussian.ts';

/** What is foreseen of one quantity. */
export interface Foreseen {
  predict(point: Point): Prediction;
  /** Of `predict` the mean alone, which costs less. */
  mean(point: Point): number;
  /** Of the points that it was learnt from, then of those that are being measured: without the noise. */
  readonly known: readonly number[];
}

/** How many length scales are tried before an answer: one takes as the cube of the points, and nobody waits long. */
const tries = (points: number): number => Math.round(Math.min(8, 1.3 * (100 / points) ** 3));
/** More make finding them slow, and hardly better. */
const pointsForFit = 120;
/** What differs less does not differ. */
const leastSpread = 1e-9;

const meanOf = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

/** One quantity of the results. What was learnt of its points is kept as long as points are only added. */
export class Output {
  readonly #unordered: readonly boolean[];
  readonly #scales: HyperparameterSearch;
  #covariance: Covariance | undefined;

  constructor(unordered: readonly boolean[]) {
    this.#unordered = unordered;
    this.#scales = new HyperparameterSearch(unordered);
  }

  /**
   * `y` a point. What is being measured counts as measured, with what is predicted for it: it improves on nothing
   * any more.
   */
  learn(points: readonly Point[], y: readonly number[], pending: readonly Point[]): Foreseen {
    const [first = 0] = y;
    if (y.every((one) => Math.abs(one - first) < leastSpread))
      return constant(first, points.length + pending.length);
    const covariance = this.#covarianceOf(points, y);
    const alone = new GaussianProcess(covariance, y);
    if (pending.length === 0) return foreseen(alone);
    const all = new GaussianProcess(covariance.extended(pending), [
      ...y,
      ...pending.map((point) => alone.mean(point)),
    ]);
    return foreseen(all);
  }

  /** With length scales that explain them a little better, where there are such. */
  #covarianceOf(points: readonly Point[], y: readonly number[]): Covariance {
    const known = this.#covariance;
    const goesOn = known?.points.every((point, index) => point === points[index]) === true;
    const covariance = goesOn ? known : this.#fresh([]);
    for (const point of points.slice(covariance.points.length)) covariance.add(point);
    // By the newest ones, where there are many.
    const recent = y.slice(-pointsForFit);
    const mean = meanOf(recent);
    const centred = Float64Array.from(recent, (yi) => yi - mean);
    const isAll = recent.length === points.length;
    const before = isAll ? covariance : this.#fresh(points.slice(-pointsForFit));
    const better = this.#scales.improve(before, centred, tries(recent.length));
    const isSame = better === before;
    this.#covariance = isSame ? covariance : isAll ? better : this.#fresh(points);
    return this.#covariance;
  }

  #fresh(points: readonly Point[]): Covariance {
    return new Covariance(this.#unordered, this.#scales.parameters).extended(points);
  }
}

const constant = (value: number, count: number): Foreseen => ({
  predict: () => ({ mean: value, sd: 1e-6 }),
  mean: () => value,
  known: new Array<number>(count).fill(value),
});

const foreseen = (learnt: GaussianProcess): Foreseen => ({
  predict: (point) => learnt.predict(point),
  mean: (point) => learnt.mean(point),
  known: learnt.fitted,
});
