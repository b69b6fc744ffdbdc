import { need } from '../../base/assert.ts';
import type { Composition, Parts } from '../fitness/composition.ts';
import { composedCosts, plainCosts, warped, type Costs } from './costs.ts';
import type { Point } from './gaussian.ts';
import { expectedImprovement } from './improvement.ts';
import { Output, type Foreseen } from './output.ts';

/**
 * Which of several candidates is worth a measurement: expected improvement times the probability that it can be
 * served at all. It learns from what was told, and takes what is being measured for what it predicts.
 */

/** Before so many results, so many of them good, a model knows nothing. */
const enough = { results: 8, good: 4 } as const;
/** Of long runs it learns from the best and the latest: they say most, and all of them would take too long. */
const mostPoints = 250;

interface Result {
  readonly point: Point;
  /** undefined: it could not be served. */
  readonly cost: number | undefined;
  readonly parts: Parts | undefined;
}

type Scored = Result & { readonly cost: number };

const isScored = (result: Result): result is Scored => result.cost !== undefined;

export class Surrogate {
  readonly #unordered: readonly boolean[];
  readonly #composition: Composition | undefined;
  #results: Result[] = [];
  readonly #costs: Output;
  readonly #served: Output;
  #parts: readonly Output[] | undefined;

  /**
   * @param unordered whether a coordinate is a choice without order
   * @param composition how costs follow from their parts: where all results tell those, they are foreseen one by one
   */
  constructor(unordered: readonly boolean[], composition?: Composition) {
    this.#unordered = unordered;
    this.#composition = composition;
    this.#costs = new Output(unordered);
    this.#served = new Output(unordered);
  }

  learn(point: Point, cost: number | undefined, parts?: Parts): void {
    this.#results.push({ point, cost, parts });
    if (this.#results.length > 1.2 * mostPoints) this.#results = bestAndNewest(this.#results);
  }

  get isReady(): boolean {
    return this.#results.length >= enough.results && this.#results.filter(isScored).length >= enough.good;
  }

  /** The index of the candidate that may improve most, what is not known included. `pending` are being measured. */
  pick(candidates: readonly Point[], pending: readonly Point[]): number {
    const { costs, feasible } = this.#foreseen(pending);
    let [chosen, highest, lowestMean] = [0, -1, Infinity];
    candidates.forEach((candidate, index) => {
      const { mean, sd } = costs.predict(candidate);
      const score = expectedImprovement(mean, sd, costs.incumbent) * chance(feasible, candidate);
      // Far from anything good all scores vanish: then the least bad.
      if (score > highest || (score === highest && mean < lowestMean))
        [chosen, highest, lowestMean] = [index, score, mean];
    });
    return chosen;
  }

  /** The index of the candidate that is likely to be best, of those that are likely to be served. */
  best(candidates: readonly Point[], pending: readonly Point[]): number {
    const { costs, feasible } = this.#foreseen(pending);
    const served = (index: number): number => feasible?.mean(need(candidates[index], 'candidate')) ?? 1;
    const likely = candidates.map((candidate) => costs.likely(candidate));
    const cost = (index: number): number => {
      const foreseen = need(likely[index], 'cost');
      return Number.isNaN(foreseen) ? Infinity : foreseen;
    };
    const byCost = [...candidates.keys()].sort(
      (a, b) => Number(cost(a) > cost(b)) - Number(cost(a) < cost(b)),
    );
    // Most of the first can be served: whether the others can, nobody has to know.
    const best = byCost.find((index) => served(index) > 0.5);
    return (
      best ?? [...candidates.keys()].reduce((most, index) => (served(index) > served(most) ? index : most))
    );
  }

  /** Pure but for the length scales, which follow from the calls so far. */
  #foreseen(pending: readonly Point[]): { readonly costs: Costs; readonly feasible: Foreseen | undefined } {
    const scored = this.#results.filter(isScored);
    const costs = this.#composed(scored, pending) ?? this.#plain(scored, pending);
    return { costs, feasible: this.#feasible() };
  }

  #plain(scored: readonly Scored[], pending: readonly Point[]): Costs {
    const points = scored.map(({ point }) => point);
    return plainCosts(this.#costs.learn(points, warped(scored.map(({ cost }) => cost)), pending));
  }

  /** undefined: some results do not tell their parts, or a part is hardly ever known. */
  #composed(scored: readonly Scored[], pending: readonly Point[]): Costs | undefined {
    const width = scored[0]?.parts?.length ?? 0;
    if (this.#composition === undefined || width === 0) return undefined;
    if (scored.some(({ parts }) => parts?.length !== width)) return undefined;
    const known = Array.from({ length: width }, (_, i) =>
      scored.flatMap(({ point, parts }, place) => {
        const value = parts?.[i] ?? null;
        return value === null ? [] : [{ point, value, place }];
      }),
    );
    if (known.some(({ length }) => length < enough.good)) return undefined;
    this.#parts ??= known.map(() => new Output(this.#unordered));
    const foreseen = this.#parts.map((output, i) => {
      const some = known[i] ?? [];
      const points = some.map(({ point }) => point);
      const values = some.map(({ value }) => value);
      const places = [...some.map(({ place }) => place), ...pending.map((_, at) => scored.length + at)];
      return { ...output.learn(points, values, pending), places };
    });
    return composedCosts(
      foreseen,
      this.#composition,
      scored.map(({ cost }) => cost),
    );
  }

  /** By a model of zeros and ones; undefined while everything could be served. */
  #feasible(): Foreseen | undefined {
    const served = this.#results.map((result) => Number(isScored(result)));
    const points = this.#results.map(({ point }) => point);
    return served.includes(0) ? this.#served.learn(points, served, []) : undefined;
  }
}

/** The newest half, and the best of the others. */
function bestAndNewest(results: readonly Result[]): Result[] {
  const newest = results.slice(-mostPoints / 2);
  const older = results.slice(0, -mostPoints / 2);
  const byCost = [...older].sort((a, b) => (a.cost ?? Infinity) - (b.cost ?? Infinity));
  return [...byCost.slice(0, mostPoints - newest.length), ...newest];
}

/**
 * That it can be served; what has hardly been tried has the benefit of the doubt: the best configurations often lie
 * next to those that do not fit.
 */
function chance(feasible: Foreseen | undefined, candidate: Point): number {
  if (feasible === undefined) return 1;
  const { mean, sd } = feasible.predict(candidate);
  return Math.min(1, Math.max(0.01, mean + sd / 2));
}
