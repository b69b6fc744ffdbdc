import type { Rng } from '../../base/rng.ts';

/** When requests are due, in ms from the first one: Poisson arrivals at a rate, all at once for an infinite one. */
export function arrivals(count: number, perSecond: number, rng: Rng): number[] {
  let at = 0;
  return Array.from({ length: count }, (_, index) => {
    if (index > 0 && Number.isFinite(perSecond)) at += (-Math.log(1 - rng.next()) / perSecond) * 1000;
    return at;
  });
}
