/** One row a particle, one column a dimension. */
export type Matrix = readonly (readonly number[])[];

export interface Coefficients {
  /** Cognitive: pull towards the particle's own best. */
  readonly c1: number;
  /** Social: pull towards the best of the swarm. */
  readonly c2: number;
  /** Inertia. */
  readonly w: number;
}

/** Constriction values of Clerc & Kennedy (2002): the swarm converges without a velocity limit. */
export const constriction: Coefficients = { c1: 1.49618, c2: 1.49618, w: 0.7298 };

export interface Motion {
  readonly x: readonly number[];
  readonly v: readonly number[];
}

/** Where a particle is pulled; a best that does not exist yet does not pull. */
export interface Attractors {
  readonly pbest: readonly number[] | undefined;
  readonly gbest: readonly number[] | undefined;
}

/** v ← w·v + c1·r1·(pbest − x) + c2·r2·(gbest − x), in this order of operations. */
export function nextVelocity(
  { x, v }: Motion,
  { pbest, gbest }: Attractors,
  { c1, c2, w }: Coefficients,
  r1: readonly number[],
  r2: readonly number[],
): number[] {
  return x.map((xi, i) => {
    const own = pbest === undefined ? 0 : c1 * (r1[i] as number) * ((pbest[i] as number) - xi);
    const social = gbest === undefined ? 0 : c2 * (r2[i] as number) * ((gbest[i] as number) - xi);
    return w * (v[i] as number) + own + social;
  });
}

type Bound = readonly number[];

/** Leaves on one side and comes back on the other: the original's rule. */
export function periodicBounds(x: readonly number[], lb: Bound, ub: Bound): number[] {
  return x.map((xi, i) => {
    const [low, high] = [lb[i] as number, ub[i] as number];
    const span = Math.abs(high - low);
    if (xi < low) return high - ((low - xi) % span);
    if (xi > high) return low + ((xi - high) % span);
    return xi;
  });
}

/** Stops at the bound. */
export function nearestBounds(x: readonly number[], lb: Bound, ub: Bound): number[] {
  return x.map((xi, i) => Math.min(Math.max(xi, lb[i] as number), ub[i] as number));
}

/** Reflects at a bound until it is inside; a reflected coordinate turns round at half its speed. */
export function reflectiveBounds(motion: Motion, lb: Bound, ub: Bound): { x: number[]; v: number[] } {
  const v = [...motion.v];
  const x = motion.x.map((xi, i) => {
    const [low, high] = [lb[i] as number, ub[i] as number];
    if (xi >= low && xi <= high) return xi;
    v[i] = -0.5 * (v[i] as number);
    return reflect(xi, low, high);
  });
  return { x, v };
}

function reflect(x: number, low: number, high: number): number {
  let value = x;
  while (value < low || value > high) {
    if (value < low) value = 2 * low - value;
    if (value > high) value = 2 * high - value;
  }
  return value;
}

export interface Best {
  readonly position: readonly number[];
  readonly cost: number;
}

/** The better one; an equal cost does not replace. */
export function betterOf(known: Best | undefined, candidate: Best): Best {
  return known !== undefined && !(candidate.cost < known.cost) ? known : candidate;
}

/** v limited to ± limit in every coordinate. */
export function clampVelocity(v: readonly number[], limit: number): number[] {
  return v.map((vi) => Math.max(-limit, Math.min(limit, vi)));
}
