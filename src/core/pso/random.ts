import { broken } from '../../base/assert.ts';
import { createRng, type Rng } from '../../base/rng.ts';
import { trialId, type TrialId } from '../../base/units.ts';
import type { UnitVector } from '../space/space.ts';
import type { Incumbent, Judgement, Optimizer, SearchOptions, Suggestion } from './optimizer.ts';

/** Uniform random search after the present configuration: what every other search has to beat. */
export class RandomSearch implements Optimizer {
  readonly #options: SearchOptions;
  readonly #rng: Rng;
  readonly #pending = new Map<TrialId, UnitVector>();
  #asked = 0;
  #best: Incumbent | undefined;

  constructor(options: SearchOptions) {
    this.#options = options;
    this.#rng = createRng(options.seed).fork('random');
  }

  get best(): Incumbent | undefined {
    return this.#best;
  }

  get done(): boolean {
    return this.#asked >= this.#options.maxEvaluations;
  }

  ask(): Suggestion | undefined {
    if (this.done) return undefined;
    const { space } = this.#options;
    const id = trialId(this.#asked++);
    const current = id === 0;
    const position = current
      ? space.encode(space.current)
      : Array.from({ length: space.dimensions }, () => this.#rng.next());
    this.#pending.set(id, position);
    return {
      trialId: id,
      particle: 0,
      generation: id,
      position,
      params: current ? space.current : space.decode(position),
      origin: current ? 'current' : 'random',
    };
  }

  tell(id: TrialId, judgement: Judgement): void {
    const position = this.#pending.get(id);
    if (position === undefined) throw broken(`trial ${id} was told twice or never asked`);
    this.#pending.delete(id);
    if (judgement.kind !== 'scored') return;
    if (this.#best === undefined || judgement.fitness < this.#best.fitness) {
      this.#best = { trialId: id, position, fitness: judgement.fitness };
    }
  }
}
