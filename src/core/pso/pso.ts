import { broken, need } from '../../base/assert.ts';
import { createRng, type Rng } from '../../base/rng.ts';
import { trialId, type TrialId } from '../../base/units.ts';
import type { ServingParams } from '../space/field.ts';
import { paramsKey, type UnitVector } from '../space/space.ts';
import { latinHypercube, normal } from './draws.ts';
import type {
  Incumbent,
  Judgement,
  Measured,
  Optimizer,
  Origin,
  SearchOptions,
  Suggestion,
} from './optimizer.ts';
import { scheduled, type Strategy } from './strategy.ts';
import {
  betterOf,
  clampVelocity,
  constriction,
  nearestBounds,
  nextVelocity,
  reflectiveBounds,
  type Best,
  type Coefficients,
  type Motion,
} from './step.ts';

export interface PsoOptions extends SearchOptions {
  readonly particles: number;
  readonly coefficients?: Coefficients;
  readonly strategy?: Strategy | undefined;
}

interface Particle {
  motion: Motion;
  pbest: Best | undefined;
  /** Order of becoming idle: the one that waits longest moves first. */
  idleSince: number;
  inFlight: number;
  asked: number;
}

interface Flight {
  readonly particle: number;
  readonly motion: Motion;
}

interface Draft {
  readonly motion: Motion;
  readonly origin: Origin;
}

const maxVelocity = 0.5;
const redraws = 8;
const jitterSd = 0.08;
const turbulence = 0.2;

/**
 * Asynchronous particle swarm on the unit cube: whoever asks gets the next move of the particle that waits
 * longest, with the newest personal and global bests. There is no generation to wait for.
 */
export class PSOOptimizer implements Optimizer {
  readonly #options: PsoOptions;
  readonly #coefficients: Coefficients;
  readonly #rng: Rng;
  readonly #particles: Particle[];
  readonly #presets: number;
  readonly #flights = new Map<TrialId, Flight>();
  readonly #seen = new Set<string>();
  /** Of an earlier study. */
  #known: Best | undefined;
  #gbest: (Best & { readonly trialId: TrialId }) | undefined;
  #asked = 0;
  #told = 0;

  constructor(options: PsoOptions) {
    this.#options = options;
    this.#coefficients = options.coefficients ?? constriction;
    this.#rng = createRng(options.seed).fork('pso');
    this.#presets = this.#experts().length;
    this.#particles = this.#start();
    this.#learn(options.history ?? []);
  }

  get best(): Incumbent | undefined {
    const best = this.#gbest;
    return (
      best && { trialId: best.trialId, position: best.position, fitness: best.cost as Incumbent['fitness'] }
    );
  }

  get done(): boolean {
    return this.#asked >= this.#options.maxEvaluations;
  }

  ask(): Suggestion | undefined {
    if (this.done) return undefined;
    const rng = this.#rng.fork(`ask-${this.#asked}`);
    const index = this.#nextParticle(rng);
    const particle = need(this.#particles[index], 'particle');
    const { motion: drafted, origin } = this.#draft(particle, index, rng);
    const { space } = this.#options;
    const params = origin === 'current' ? space.current : this.#decode(drafted.x, index);
    const motion = { x: space.settled(drafted.x, params), v: drafted.v };
    const suggestion: Suggestion = {
      trialId: trialId(this.#asked++),
      particle: index,
      generation: particle.asked,
      position: motion.x,
      params,
      origin,
    };
    this.#seen.add(paramsKey(params));
    this.#flights.set(suggestion.trialId, { particle: index, motion });
    particle.inFlight++;
    particle.asked++;
    return suggestion;
  }

  tell(id: TrialId, judgement: Judgement): void {
    const flight = this.#flights.get(id);
    if (flight === undefined) throw broken(`trial ${id} was told twice or never asked`);
    this.#flights.delete(id);
    const particle = need(this.#particles[flight.particle], 'particle');
    particle.inFlight--;
    particle.idleSince = ++this.#told;
    if (judgement.kind === 'scored') {
      const found: Best = { position: flight.motion.x, cost: judgement.fitness };
      particle.motion = flight.motion;
      particle.pbest = betterOf(particle.pbest, found);
      if (this.#gbest === undefined || found.cost < this.#gbest.cost) this.#gbest = { ...found, trialId: id };
    } else {
      // Back to where it was good, and the other way round.
      particle.motion = {
        x: particle.pbest?.position ?? particle.motion.x,
        v: flight.motion.v.map((vi) => -0.5 * vi),
      };
    }
  }

  #start(): Particle[] {
    const { space, particles } = this.#options;
    const rng = this.#rng.fork('start');
    const experts = this.#experts();
    const others = latinHypercube(Math.max(0, particles - 1 - experts.length), space.dimensions, rng);
    return [space.encode(space.current), ...experts, ...others].map((x, index) => ({
      motion: { x, v: x.map(() => (rng.next() - 0.5) * 0.5) },
      pbest: undefined,
      idleSince: index - particles,
      inFlight: 0,
      asked: 0,
    }));
  }

  /** What was measured before, particle by particle: their bests, not their places. */
  #learn(history: readonly Measured[]): void {
    const { space, particles } = this.#options;
    history.forEach(({ params, fitness }, index) => {
      const known: Best = { position: space.encode({ ...space.current, ...params }), cost: fitness };
      const particle = need(this.#particles[index % particles], 'particle');
      particle.pbest = betterOf(particle.pbest, known);
      if (this.#known === undefined || fitness < this.#known.cost) this.#known = known;
    });
  }

  /** At most half of the swarm: it shall look for itself as well. */
  #experts(): UnitVector[] {
    const { space, particles, presets = [] } = this.#options;
    return presets
      .map((preset) => ({ ...space.current, ...preset }))
      .filter((params) => space.broken(params) === undefined)
      .slice(0, Math.floor(particles / 2))
      .map((params) => space.encode(params));
  }

  #nextParticle(rng: Rng): number {
    let chosen = -1;
    this.#particles.forEach((particle, index) => {
      if (particle.inFlight > 0) return;
      if (chosen === -1 || particle.idleSince < need(this.#particles[chosen], 'particle').idleSince)
        chosen = index;
    });
    return chosen === -1 ? Math.floor(rng.next() * this.#particles.length) : chosen;
  }

  #draft(particle: Particle, index: number, rng: Rng): Draft {
    if (particle.asked === 0 && index === 0) return { motion: particle.motion, origin: 'current' };
    if (particle.asked === 0 && this.#isNew(particle.motion.x, index)) {
      return { motion: particle.motion, origin: index <= this.#presets ? 'preset' : 'initial' };
    }
    let motion = this.#move(particle, rng);
    for (let i = 0; i < redraws && !this.#isNew(motion.x, index); i++) motion = this.#move(particle, rng);
    if (this.#isNew(motion.x, index)) return { motion, origin: 'swarm' };
    // Everything near has been seen: look ever further around the move.
    let jittered = motion;
    for (let i = 1; i <= redraws && !this.#isNew(jittered.x, index); i++) {
      const around = motion.x.map((xi) => xi + normal(rng) * jitterSd * i);
      jittered = { x: nearestBounds(around, zeros(around), ones(around)), v: motion.v };
    }
    return { motion: jittered, origin: 'jitter' };
  }

  #move(particle: Particle, rng: Rng): Motion {
    const { x } = particle.motion;
    const draws = (): number[] => x.map(() => rng.next());
    const best = this.#known === undefined ? this.#gbest : betterOf(this.#gbest, this.#known);
    const pull = { pbest: particle.pbest?.position, gbest: best?.position };
    // Nothing good is known and its own start was not: begin somewhere else.
    if (pull.pbest === undefined && pull.gbest === undefined) return { x: draws(), v: particle.motion.v };
    const v = clampVelocity(
      nextVelocity(particle.motion, pull, this.#coefficientsNow(), draws(), draws()),
      maxVelocity,
    );
    const moved = inside({ x: x.map((xi, i) => xi + need(v[i], 'velocity')), v });
    if (x.length === 0 || rng.next() >= turbulence) return moved;
    const anew = Math.floor(rng.next() * x.length);
    const fresh = rng.next();
    return { x: moved.x.map((xi, i) => (i === anew ? fresh : xi)), v: moved.v };
  }

  #coefficientsNow(): Coefficients {
    const { strategy = {}, maxEvaluations } = this.#options;
    return scheduled(this.#coefficients, strategy, this.#asked / maxEvaluations);
  }

  #decode(x: UnitVector, index: number): ServingParams {
    const { space, particles } = this.#options;
    const generation = this.#particles[index]?.asked ?? 0;
    return space.decode(x, { particle: index, particles, generation });
  }

  /** Neither asked before nor against a rule. */
  #isNew(x: UnitVector, index: number): boolean {
    const params = this.#decode(x, index);
    return !this.#seen.has(paramsKey(params)) && this.#options.space.broken(params) === undefined;
  }
}

function inside(motion: Motion): { x: number[]; v: number[] } {
  return reflectiveBounds(motion, zeros(motion.x), ones(motion.x));
}

const zeros = (x: readonly number[]): number[] => x.map(() => 0);
const ones = (x: readonly number[]): number[] => x.map(() => 1);
