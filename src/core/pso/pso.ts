import { broken, need } from '../../base/assert.ts';
import { createRng, type Rng } from '../../base/rng.ts';
import { trialId, type TrialId } from '../../base/units.ts';
import type { Composition } from '../fitness/composition.ts';
import type { ServingParams } from '../space/field.ts';
import { paramsKey, type UnitVector } from '../space/space.ts';
import { Surrogate } from '../surrogate/surrogate.ts';
import { latinHypercube } from './draws.ts';
import { jittered, nearby, scout, swarmMove } from './moves.ts';
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
import { betterOf, constriction, type Best, type Coefficients, type Motion } from './step.ts';

export interface PsoOptions extends SearchOptions {
  readonly particles: number;
  readonly coefficients?: Coefficients;
  readonly strategy?: Strategy | undefined;
  /** A model picks among the moves that the swarm proposes; off where nobody says so. */
  readonly surrogate?: boolean | undefined;
  /** How costs follow from the parts that are told with them: the model foresees those instead. */
  readonly composition?: Composition | undefined;
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
  /** Where its configuration really is, as the model sees it. */
  readonly point: UnitVector;
}

interface Draft {
  readonly motion: Motion;
  readonly origin: Origin;
}

const redraws = 8;
const jitterSd = 0.08;
const candidates = 64;
/**
 * Every third turn, where the parts of costs are foreseen, what is foreseen to be best is measured, of the candidates
 * and of places around the bests of the swarm: the best configurations lie in valleys that are narrower than what may improve.
 */
const refining = { every: 3, bests: 4, around: 48, sds: [0.03, 0.1, 0.3] } as const;

/**
 * Asynchronous particle swarm on the unit cube: whoever asks gets the next move of the particle that waits
 * longest, with the newest personal and global bests. There is no generation to wait for. With a surrogate, many
 * moves are drawn, and the one that a model of all results expects most of is made: the swarm proposes, the model picks.
 */
export class PSOOptimizer implements Optimizer {
  readonly #options: PsoOptions;
  readonly #coefficients: Coefficients;
  readonly #rng: Rng;
  readonly #particles: Particle[];
  readonly #presets: number;
  readonly #surrogate: Surrogate | undefined;
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
    const { surrogate, space, composition } = options;
    this.#surrogate = surrogate === true ? new Surrogate(space.unordered, composition) : undefined;
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
    this.#flights.set(suggestion.trialId, { particle: index, motion, point: this.#point(params) });
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
    if (judgement.kind === 'infeasible') this.#surrogate?.learn(flight.point, undefined);
    if (judgement.kind === 'scored') {
      this.#surrogate?.learn(flight.point, judgement.fitness, judgement.parts);
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
    history.forEach(({ params, fitness, parts }, index) => {
      const all = { ...space.current, ...params };
      const known: Best = { position: space.encode(all), cost: fitness };
      const particle = need(this.#particles[index % particles], 'particle');
      particle.pbest = betterOf(particle.pbest, known);
      this.#surrogate?.learn(this.#point(all), fitness, parts);
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
    if (this.#isToStart(particle, index)) {
      return { motion: particle.motion, origin: index <= this.#presets ? 'preset' : 'initial' };
    }
    const screened = this.#screened(particle, index, rng);
    if (screened !== undefined) return { motion: screened, origin: 'swarm' };
    let motion = this.#move(particle, rng);
    for (let i = 0; i < redraws && !this.#isNew(motion.x, index); i++) motion = this.#move(particle, rng);
    if (this.#isNew(motion.x, index)) return { motion, origin: 'swarm' };
    // Everything near has been seen: look ever further around the move.
    let around = motion;
    for (let i = 1; i <= redraws && !this.#isNew(around.x, index); i++)
      around = jittered(motion, jitterSd * i, rng);
    return { motion: around, origin: 'jitter' };
  }

  /** Whether its first place is worth a look: where another study measured, the model knows better. */
  #isToStart({ asked, motion }: Particle, index: number): boolean {
    const isKnown = this.#known !== undefined && this.#surrogate?.isReady === true;
    return asked === 0 && (index <= this.#presets || !isKnown) && this.#isNew(motion.x, index);
  }

  /** Half of the candidates are moves, a quarter lie around moves, a quarter anywhere; undefined: none is new. */
  #screened(particle: Particle, index: number, rng: Rng): Motion | undefined {
    if (this.#surrogate?.isReady !== true) return undefined;
    const { space } = this.#options;
    const refines = this.#options.composition !== undefined && this.#asked % refining.every === 0;
    const drawn = Array.from({ length: candidates }, (_, i) => {
      if (i >= 0.75 * candidates) return scout(space.dimensions, rng);
      const move = this.#move(particle, rng);
      return i < 0.5 * candidates ? move : jittered(move, jitterSd, rng);
    });
    if (refines) drawn.push(...this.#aroundBests(particle, rng));
    const fresh = drawn.flatMap((motion) => {
      const params = this.#decode(motion.x, index);
      return this.#isFresh(params) ? [{ motion, point: this.#point(params) }] : [];
    });
    if (fresh.length === 0) return undefined;
    const points = fresh.map(({ point }) => point);
    const pending = [...this.#flights.values()].map(({ point }) => point);
    return fresh[this.#surrogate[refines ? 'best' : 'pick'](points, pending)]?.motion;
  }

  #aroundBests({ motion: { v } }: Particle, rng: Rng): Motion[] {
    const { unordered } = this.#options.space;
    const bests = this.#particles
      .flatMap(({ pbest }) => pbest ?? [])
      .sort((a, b) => a.cost - b.cost)
      .slice(0, refining.bests);
    return bests.flatMap(({ position }) =>
      Array.from({ length: refining.around }, (_, i) => {
        const sd = need(refining.sds[i % refining.sds.length], 'width');
        return { x: nearby(position, sd, unordered, rng), v };
      }),
    );
  }

  #move({ motion, pbest }: Particle, rng: Rng): Motion {
    const best = this.#known === undefined ? this.#gbest : betterOf(this.#gbest, this.#known);
    return swarmMove(
      {
        motion,
        pull: { pbest: pbest?.position, gbest: best?.position },
        coefficients: this.#coefficientsNow(),
        unordered: this.#options.space.unordered,
        turbulent: this.#surrogate === undefined,
      },
      rng,
    );
  }

  #coefficientsNow(): Coefficients {
    const { strategy = {}, maxEvaluations } = this.#options;
    return scheduled(this.#coefficients, strategy, this.#asked / maxEvaluations);
  }

  /** Throughput and latencies follow ratios; of a cost that nobody explains nothing is assumed. */
  #point(params: ServingParams): UnitVector {
    const { space, composition } = this.#options;
    const point = space.encode(params);
    return composition === undefined ? point : space.inRatios(point);
  }

  #decode(x: UnitVector, index: number): ServingParams {
    const { space, particles } = this.#options;
    const generation = this.#particles[index]?.asked ?? 0;
    return space.decode(x, { particle: index, particles, generation });
  }

  /** Neither asked before nor against a rule. */
  #isNew(x: UnitVector, index: number): boolean {
    return this.#isFresh(this.#decode(x, index));
  }

  #isFresh(params: ServingParams): boolean {
    return !this.#seen.has(paramsKey(params)) && this.#options.space.broken(params) === undefined;
  }
}
