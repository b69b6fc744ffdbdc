import { Covariance, GaussianProcess, HyperparameterSearch, type Point } from './gaussian.ts';

/**
 * Which of several candidates is worth a measurement: expected improvement times the probability that it can be
 * served at all. It learns from what was told, and takes what is being measured for what it predicts.
 */

/** Before so many results, so many of them good, a model knows nothing. */
const enough = { results: 8, good: 4 } as const;
/** Of long runs it learns from the best and the latest: they say most, and all of them would take too long. */
const mostPoints = 250;
/** How many length scales are tried before a pick: one takes as the cube of the points, and a pick does not wait long. */
const tries = (points: number): number => Math.round(Math.min(24, 2 * (100 / points) ** 3));
/** More make finding them slow, and hardly better. */
const pointsForFit = 120;

interface Result {
  readonly point: Point;
  /** undefined: it could not be served. */
  readonly cost: number | undefined;
}

type Scored = Result & { readonly cost: number };

/** What was learnt with the same length scales: it grows until they are looked for again. */
interface Memory {
  readonly results: Result[];
  readonly scored: Covariance;
  readonly all: Covariance;
}

interface Model {
  readonly costs: GaussianProcess;
  readonly incumbent: number;
  readonly feasible: GaussianProcess | undefined;
}

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

/**
 * Costs as the model sees them: differences near the best count most, and one that is ten times as bad is not ten
 * times as interesting. Of costs that are not all positive, the distance to the best takes the place of the ratio.
 */
export function warped(costs: readonly number[]): number[] {
  const best = Math.min(...costs);
  if (best > 0) return costs.map((cost) => Math.log(Math.log(cost) - Math.log(best) + 0.1));
  const sorted = [...costs].sort((a, b) => a - b);
  const [middle, most] = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)] as [number, number];
  // Where half of them are next to equal, their distance is no yardstick.
  const spread = Math.max(middle - best, 1e-9 * (most - best)) || 1;
  return costs.map((cost) => Math.log((cost - best) / spread + 0.1));
}

export class Surrogate {
  readonly #unordered: readonly boolean[];
  readonly #results: Result[] = [];
  #memory: Memory | undefined;
  readonly #costScales: HyperparameterSearch;
  readonly #feasibleScales: HyperparameterSearch;

  /** Whether a coordinate is a choice without order. */
  constructor(unordered: readonly boolean[]) {
    this.#unordered = unordered;
    this.#costScales = new HyperparameterSearch(unordered);
    this.#feasibleScales = new HyperparameterSearch(unordered);
  }

  learn(point: Point, cost: number | undefined): void {
    const result = { point, cost };
    this.#results.push(result);
    if (this.#memory !== undefined) remember(this.#memory, result);
  }

  get isReady(): boolean {
    const good = this.#results.filter(({ cost }) => cost !== undefined).length;
    return this.#results.length >= enough.results && good >= enough.good;
  }

  /**
   * The index of the most promising candidate. `pending` are being measured.
   * Pure but for the length scales, which follow from the calls so far.
   */
  pick(candidates: readonly Point[], pending: readonly Point[]): number {
    const { costs, incumbent, feasible } = this.#model(pending);
    let [chosen, highest, lowestMean] = [0, -1, Infinity];
    candidates.forEach((candidate, index) => {
      const { mean, sd } = costs.predict(candidate);
      const score = expectedImprovement(mean, sd, incumbent) * chance(feasible, candidate);
      // Far from anything good all scores vanish: then the least bad.
      if (score > highest || (score === highest && mean < lowestMean))
        [chosen, highest, lowestMean] = [index, score, mean];
    });
    return chosen;
  }

  #model(pending: readonly Point[]): Model {
    const { results, scored, all } = (this.#memory = this.#remembered());
    const y = warped(results.flatMap(({ cost }) => cost ?? []));
    // What is being measured counts as measured, as it is predicted: it improves on nothing any more.
    const alone = new GaussianProcess(scored, y);
    const known = scored.extended(pending);
    const costs = new GaussianProcess(known, [...y, ...pending.map((point) => alone.mean(point))]);
    const incumbent = Math.min(...known.points.map((point) => costs.mean(point)));
    const served = results.map(({ cost }) => Number(cost !== undefined));
    return { costs, incumbent, feasible: served.includes(0) ? new GaussianProcess(all, served) : undefined };
  }

  /** With length scales that explain it a little better, where there are such. */
  #remembered(): Memory {
    const known = this.#memory;
    const isFull = known !== undefined && known.results.length > 1.2 * mostPoints;
    const results = known === undefined || isFull ? this.#inUse() : known.results;
    const scored = results.filter((result): result is Scored => result.cost !== undefined);
    const costs = improved(this.#costScales, scored, warped(scored.map(({ cost }) => cost)));
    const served = results.map(({ cost }) => Number(cost !== undefined));
    const chances = scored.length < results.length && improved(this.#feasibleScales, results, served);
    if (known !== undefined && !isFull && !costs && !chances) return known;
    const memory: Memory = {
      results: [],
      scored: new Covariance(this.#unordered, this.#costScales.parameters),
      all: new Covariance(this.#unordered, this.#feasibleScales.parameters),
    };
    for (const result of results) remember(memory, result);
    return memory;
  }

  /** All of them, or the best half and the newest. */
  #inUse(): readonly Result[] {
    if (this.#results.length <= mostPoints) return this.#results;
    const newest = this.#results.slice(-mostPoints / 2);
    const older = this.#results.slice(0, -mostPoints / 2);
    const byCost = [...older].sort((a, b) => (a.cost ?? Infinity) - (b.cost ?? Infinity));
    return [...byCost.slice(0, mostPoints - newest.length), ...newest];
  }
}

function remember({ results, scored, all }: Memory, result: Result): void {
  results.push(result);
  all.add(result.point);
  if (result.cost !== undefined) scored.add(result.point);
}

/** By the newest results, where there are many. */
function improved(scales: HyperparameterSearch, results: readonly Result[], y: readonly number[]): boolean {
  const recent = y.slice(-pointsForFit);
  const mean = recent.reduce((sum, yi) => sum + yi, 0) / recent.length;
  return scales.improve(
    results.slice(-pointsForFit).map(({ point }) => point),
    Float64Array.from(recent, (yi) => yi - mean),
    tries(recent.length),
  );
}

/**
 * That it can be served, by the model of zeros and ones; what has hardly been tried has the benefit of the doubt: the
 * best configurations often lie next to those that do not fit.
 */
function chance(feasible: GaussianProcess | undefined, candidate: Point): number {
  if (feasible === undefined) return 1;
  const { mean, sd } = feasible.predict(candidate);
  return Math.min(1, Math.max(0.01, mean + sd / 2));
}
