import type { Rng } from '../../base/rng.ts';
import { need } from '../../base/assert.ts';
import type { UnitVector } from '../space/space.ts';
import { normal } from './draws.ts';
import {
  clampVelocity,
  nearestBounds,
  nextVelocity,
  reflectiveBounds,
  type Attractors,
  type Coefficients,
  type Motion,
} from './step.ts';

/** Where a particle may go from where it is. Every motion that comes out is in the unit cube. */

const maxVelocity = 0.5;
/** How often one coordinate is drawn anew, where no model looks for what nobody has tried. */
const turbulence = 0.2;
/** A choice without order takes the swarm's value, its own best one, any one, or stays. */
const choice = { gbest: 0.45, pbest: 0.3, anew: 0.12 } as const;

export interface Move {
  readonly motion: Motion;
  readonly pull: Attractors;
  readonly coefficients: Coefficients;
  /** By coordinate: a choice without order has no direction to go in. */
  readonly unordered: readonly boolean[];
  readonly turbulent: boolean;
}

const zeros = (x: readonly number[]): number[] => x.map(() => 0);
const ones = (x: readonly number[]): number[] => x.map(() => 1);

function chosen(x: number, pull: Attractors, dimension: number, rng: Rng): number {
  const draw = rng.next();
  const anew = rng.next();
  if (draw < choice.gbest) return pull.gbest?.[dimension] ?? anew;
  if (draw < choice.gbest + choice.pbest) return pull.pbest?.[dimension] ?? x;
  return draw < choice.gbest + choice.pbest + choice.anew ? anew : x;
}

/** The next move of the swarm. */
export function swarmMove({ motion, pull, coefficients, unordered, turbulent }: Move, rng: Rng): Motion {
  const { x } = motion;
  const draws = (): number[] => x.map(() => rng.next());
  // Nothing good is known and its own start was not: begin somewhere else.
  if (pull.pbest === undefined && pull.gbest === undefined) return { x: draws(), v: motion.v };
  const v = clampVelocity(nextVelocity(motion, pull, coefficients, draws(), draws()), maxVelocity);
  const moved = reflectiveBounds({ x: x.map((xi, i) => xi + need(v[i], 'velocity')), v }, zeros(x), ones(x));
  const placed = moved.x.map((xi, i) =>
    unordered[i] === true ? chosen(need(x[i], 'position'), pull, i, rng) : xi,
  );
  if (!turbulent || x.length === 0 || rng.next() >= turbulence) return { x: placed, v: moved.v };
  const anew = Math.floor(rng.next() * x.length);
  const fresh = rng.next();
  return { x: placed.map((xi, i) => (i === anew ? fresh : xi)), v: moved.v };
}

/** Somewhere around, also at a bound itself. */
export function jittered({ x, v }: Motion, sd: number, rng: Rng): Motion {
  const around = x.map((xi) => xi + normal(rng) * sd);
  return { x: nearestBounds(around, zeros(x), ones(x)), v };
}

/** Near a place: half of the coordinates stay as they are. */
export function nearby(x: UnitVector, sd: number, unordered: readonly boolean[], rng: Rng): UnitVector {
  return x.map((xi, i) => {
    if (rng.next() < 0.5) return xi;
    return unordered[i] === true ? rng.next() : Math.min(1, Math.max(0, xi + normal(rng) * sd));
  });
}

/** Anywhere. */
export function scout(dimensions: number, rng: Rng): Motion {
  const draws = (): number[] => Array.from({ length: dimensions }, () => rng.next());
  return { x: draws(), v: draws().map((r) => (r - 0.5) * 0.5) };
}
