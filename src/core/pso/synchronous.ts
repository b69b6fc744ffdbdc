import { broken, need } from '../../base/assert.ts';
import { createRng, type Rng } from '../../base/rng.ts';
import { trialId, type TrialId } from '../../base/units.ts';
import type { DecodeContext } from '../space/derived.ts';
import type { UnitVector } from '../space/space.ts';
import { GenerationSwarm } from './generation.ts';
import type { Incumbent, Judgement, Optimizer, SearchOptions, Suggestion } from './optimizer.ts';
import type { Coefficients } from './step.ts';
import { scheduled, type Strategy } from './strategy.ts';

export interface SynchronousOptions extends SearchOptions {
  readonly particles: number;
  readonly coefficients: Coefficients;
  readonly ftol: number;
  readonly ftolIter: number;
  readonly strategy?: Strategy | undefined;
}

/** Generation by generation, as the original searches; the next one starts when the last particle is told. */
export class SynchronousPso implements Optimizer {
  readonly #options: SynchronousOptions;
  readonly #rng: Rng;
  readonly #swarm: GenerationSwarm;
  readonly #particleOf = new Map<TrialId, number>();
  #costs: (number | undefined)[];
  #asked = 0;
  #askedHere = 0;
  #best: Incumbent | undefined;
  #converged = false;

  constructor(options: SynchronousOptions) {
    this.#options = options;
    this.#rng = createRng(options.seed).fork('synchronous');
    const { space, particles } = options;
    const { lower, upper } = space.bounds;
    const span = (i: number): number => need(upper[i], 'bound') - need(lower[i], 'bound');
    const position = this.#rows(particles).map((row) =>
      row.map((r, i) => need(lower[i], 'bound') + r * span(i)),
    );
    const experts = (options.presets ?? []).map((preset) => ({ ...space.current, ...preset }));
    [space.current, ...experts].slice(0, particles).forEach((params, particle) => {
      position[particle] = space.encode(params).map((u, i) => need(lower[i], 'bound') + u * span(i));
    });
    const { coefficients, ftol, ftolIter } = options;
    this.#swarm = new GenerationSwarm(
      { position, velocity: this.#rows(particles), best: undefined },
      { coefficients, lower, upper, ftol, ftolIter },
    );
    this.#costs = position.map(() => undefined);
  }

  get best(): Incumbent | undefined {
    return this.#best;
  }

  get done(): boolean {
    return this.#converged || this.#asked >= this.#options.maxEvaluations;
  }

  ask(): Suggestion | undefined {
    if (this.done || this.#askedHere === this.#costs.length) return undefined;
    const { space } = this.#options;
    const particle = this.#askedHere++;
    const id = trialId(this.#asked++);
    const position = this.#unit(need(this.#swarm.position[particle], 'position'));
    this.#particleOf.set(id, particle);
    const current = id === 0;
    return {
      trialId: id,
      particle,
      generation: Math.floor(id / this.#costs.length),
      position,
      params: current ? space.current : space.decode(position, this.#context(particle, id)),
      origin: current ? 'current' : id < this.#costs.length ? 'initial' : 'swarm',
    };
  }

  tell(id: TrialId, judgement: Judgement): void {
    const particle = this.#particleOf.get(id);
    if (particle === undefined) throw broken(`trial ${id} was told twice or never asked`);
    this.#particleOf.delete(id);
    const scored = judgement.kind === 'scored';
    this.#costs[particle] = scored ? judgement.fitness : Infinity;
    if (scored && (this.#best === undefined || judgement.fitness < this.#best.fitness)) {
      const position = this.#unit(need(this.#swarm.position[particle], 'position'));
      this.#best = { trialId: id, position, fitness: judgement.fitness };
    }
    if (this.#costs.every((cost) => cost !== undefined)) this.#close(this.#costs);
  }

  #close(costs: readonly number[]): void {
    this.#converged = this.#swarm.score(costs);
    const generation = this.#rng.fork(`generation-${this.#asked}`);
    const { coefficients, strategy = {}, maxEvaluations } = this.#options;
    const now = scheduled(coefficients, strategy, this.#asked / maxEvaluations);
    this.#swarm.move(this.#rows(costs.length, generation), this.#rows(costs.length, generation), now);
    this.#costs = costs.map(() => undefined);
    this.#askedHere = 0;
  }

  #context(particle: number, id: TrialId): DecodeContext {
    const particles = this.#costs.length;
    return { particle, particles, generation: Math.floor(id / particles) };
  }

  #rows(n: number, rng: Rng = this.#rng): number[][] {
    return Array.from({ length: n }, () =>
      Array.from({ length: this.#options.space.dimensions }, () => rng.next()),
    );
  }

  #unit(x: readonly number[]): UnitVector {
    const { lower, upper } = this.#options.space.bounds;
    return x.map((xi, i) => {
      const low = need(lower[i], 'bound');
      return (xi - low) / (need(upper[i], 'bound') - low);
    });
  }
}
