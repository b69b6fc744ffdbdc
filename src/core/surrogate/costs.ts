import type { Composition } from '../fitness/composition.ts';
import type { Point, Prediction } from './gaussian.ts';
import { normalPoints } from './improvement.ts';
import type { Foreseen } from './output.ts';

/** What is foreseen of costs, on some scale that keeps their order. */
export interface Costs {
  predict(point: Point): Prediction;
  /** What is likely, without a look at how sure that is. */
  likely(point: Point): number;
  /** The least cost that is foreseen where something was measured, or is being measured. */
  readonly incumbent: number;
}

/** Half of all costs are less far from the best than this; where they are next to equal, it is no yardstick. */
function spreadOf(costs: readonly number[], best: number): number {
  const sorted = [...costs].sort((a, b) => a - b);
  const [middle, most] = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)] as [number, number];
  return Math.max(middle - best, 1e-9 * (most - best)) || 1;
}

/**
 * Costs as a model of them sees them: differences near the best count most, and one that is ten times as bad is not
 * ten times as interesting. Of costs that are not all positive, the distance to the best takes the place of the ratio.
 */
export function warped(costs: readonly number[]): number[] {
  const best = Math.min(...costs);
  if (best > 0) return costs.map((cost) => Math.log(Math.log(cost) - Math.log(best) + 0.1));
  const spread = spreadOf(costs, best);
  return costs.map((cost) => Math.log((cost - best) / spread + 0.1));
}

/** Of a model of costs themselves. */
export const plainCosts = (costs: Foreseen): Costs => ({
  predict: (point) => costs.predict(point),
  likely: (point) => costs.mean(point),
  incumbent: Math.min(...costs.known),
});

/** So many draws of all parts tell the mean and the spread of the cost that follows from them. */
const draws = 24;
/** What is e³ times as bad as the best is not told apart: an exponential beyond an SLO has no mean that says anything. */
const widest = 3;

/** Of a model of one part, with the places that its points have among all: not every result tells every part. */
export interface ForeseenPart extends Foreseen {
  readonly places: readonly number[];
}

/** A row a point that all of them know. */
function knownToAll(parts: readonly ForeseenPart[]): (readonly number[])[] {
  const rows = new Map<number, number[]>();
  for (const { known, places } of parts)
    for (const [i, place] of places.entries()) {
      const row = rows.get(place) ?? [];
      row.push(known[i] as number);
      rows.set(place, row);
    }
  return [...rows.values()].filter(({ length }) => length === parts.length);
}

/**
 * Of a model of every part: the mean and the spread of the logarithm of their cost. undefined where they say nothing
 * that can be compared.
 */
export function composedCosts(
  parts: readonly ForeseenPart[],
  composition: Composition,
  measured: readonly number[],
): Costs | undefined {
  const best = Math.min(...measured);
  const spread = spreadOf(measured, best);
  const scaled = (values: readonly number[]): number => {
    const cost = composition.cost(values);
    if (best <= 0) return (cost - best) / spread;
    return cost <= 0 ? -Infinity : Math.log(cost);
  };
  const incumbent = Math.min(...knownToAll(parts).map(scaled));
  if (!Number.isFinite(incumbent)) return undefined;
  const normals = normalPoints(draws, parts.length);
  return {
    incumbent,
    likely: (point) => scaled(parts.map((part) => part.mean(point))),
    predict(point) {
      const predicted = parts.map((part) => part.predict(point));
      let [sum, squares] = [0, 0];
      for (const normal of normals) {
        const cost = scaled(predicted.map(({ mean, sd }, i) => mean + sd * (normal[i] as number)));
        const away = Number.isNaN(cost) ? widest : Math.min(widest, Math.max(-widest, cost - incumbent));
        sum += away;
        squares += away * away;
      }
      const mean = sum / draws;
      return {
        mean: incumbent + mean,
        sd: Math.sqrt(Math.max(1e-12, squares / draws - mean * mean)),
      };
    },
  };
}
