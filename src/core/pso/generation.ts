import { need } from '../../base/assert.ts';
import { betterOf, nextVelocity, periodicBounds, type Best, type Coefficients, type Matrix } from './step.ts';

export interface SwarmState {
  readonly position: Matrix;
  readonly velocity: Matrix;
  readonly best: Best | undefined;
}

export interface GenerationOptions {
  readonly coefficients: Coefficients;
  readonly lower: readonly number[];
  readonly upper: readonly number[];
  /** Stop when the best improves by less than this, relative to 1 + |best|; −Infinity: never. */
  readonly ftol: number;
  /** For how many generations in a row. */
  readonly ftolIter: number;
}

/**
 * The original's swarm, a generation at a time, in the fields' own bounds: global best topology, periodic bounds,
 * no velocity limit. Costs may be Infinity (never a best).
 */
export class GenerationSwarm {
  readonly #options: GenerationOptions;
  #position: Matrix;
  #velocity: Matrix;
  #pbest: (Best | undefined)[];
  #best: Best | undefined;
  #generation = 0;
  #recent: boolean[] = [];

  constructor(start: SwarmState, options: GenerationOptions) {
    this.#options = options;
    this.#position = start.position;
    this.#velocity = start.velocity;
    this.#best = start.best;
    this.#pbest = start.position.map(() => undefined);
  }

  get position(): Matrix {
    return this.#position;
  }

  get best(): Best | undefined {
    return this.#best;
  }

  /** Takes the costs of the whole generation; true when `ftol` says that it is enough. */
  score(costs: readonly number[]): boolean {
    const previous = this.#best?.cost ?? Infinity;
    this.#pbest = this.#pbest.map((known, i) => {
      const cost = need(costs[i], 'cost');
      return cost < (known?.cost ?? Infinity)
        ? betterOf(known, { position: need(this.#position[i], 'position'), cost })
        : known;
    });
    for (const candidate of this.#pbest) {
      if (candidate !== undefined) this.#best = betterOf(this.#best, candidate);
    }
    return this.#converged(previous, this.#best?.cost ?? Infinity);
  }

  /** Moves every particle; the draws are uniform in [0, 1), a row a particle. */
  move(r1: Matrix, r2: Matrix, coefficients = this.#options.coefficients): void {
    const { lower, upper } = this.#options;
    this.#velocity = this.#position.map((x, i) =>
      nextVelocity(
        { x, v: need(this.#velocity[i], 'velocity') },
        { pbest: this.#pbest[i]?.position, gbest: this.#best?.position },
        coefficients,
        need(r1[i], 'draws'),
        need(r2[i], 'draws'),
      ),
    );
    this.#position = this.#position.map((x, i) => {
      const v = need(this.#velocity[i], 'velocity');
      return periodicBounds(
        x.map((xi, j) => xi + need(v[j], 'velocity')),
        lower,
        upper,
      );
    });
  }

  #converged(previous: number, now: number): boolean {
    const { ftol, ftolIter } = this.#options;
    const small = Math.abs(now - previous) < ftol * (1 + Math.abs(previous));
    this.#recent = [...this.#recent, small].slice(-ftolIter);
    return this.#generation++ >= ftolIter && this.#recent.every(Boolean);
  }
}
