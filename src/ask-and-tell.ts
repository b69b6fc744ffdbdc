import { z } from 'zod';
import { ConfigValidationError } from './base/errors.ts';
import { trialId, type Fitness, type TrialId } from './base/units.ts';
import { fieldsSchema } from './config/schema-tables.ts';
import { MetricParts, type Metrics } from './core/fitness/metric-parts.ts';
import type { Suggestion } from './core/pso/optimizer.ts';
import { PSOOptimizer } from './core/pso/pso.ts';
import type { ServingParams } from './core/space/field.ts';
import { createSearchSpace, type SearchSpace } from './core/space/space.ts';

/** The search alone, for who measures by themselves. */

/** What a configuration must keep: a formula over the fields, or a function that gives the reason where it does not. */
export type SearchConstraint = string | ((params: ServingParams) => true | string);

export interface OptimizerOptions {
  /** As in TOML; their `value`s are the present configuration, which is suggested first. */
  readonly fields: readonly object[];
  readonly constraints?: readonly SearchConstraint[];
  /** Default 0. */
  readonly seed?: number;
  /** How many measure at the same time; default 1. */
  readonly groups?: number;
  /** Default 100. */
  readonly maxEvaluations?: number;
  /** Default true: a model picks among the moves that the swarm proposes. */
  readonly surrogate?: boolean;
  /**
   * The cost as a function of the metrics, lower is better: where it is given, metrics alone may be told, and the
   * model foresees each of them instead of their cost. It is asked often, also about metrics that nobody ever measured:
   * it is to be quick and without effects.
   */
  readonly fitness?: (metrics: Metrics) => number;
}

/**
 * What came of a measurement; a lower fitness is better. `metrics` are kept for who asks for the best; with the option
 * `fitness` they are what is learnt from, the same names each time.
 */
export type Told =
  | { readonly fitness: number; readonly metrics?: Metrics }
  | { readonly metrics: Metrics }
  /**
   * `invalid`, `deterministic` and `timeout`: the configuration's fault, it is kept away from. `transient`: somebody
   * else's, it is suggested again, to another group where there is one.
   */
  | { readonly failed: 'invalid' | 'deterministic' | 'timeout' | 'transient' };

export interface Asked {
  readonly id: number;
  readonly params: ServingParams;
}

export interface AskAndTell {
  /** The next configuration to measure; undefined when there is none any more, or for this group. */
  ask(group?: number): Asked | undefined;
  /** @throws ConfigValidationError for a fitness or metric that is no number, and for an id that nobody waits for */
  tell(id: number, told: Told, group?: number): void;
  /** The lowest fitness, with the metrics that were told with it. */
  readonly best: (Asked & { readonly fitness: number; readonly metrics: Metrics | undefined }) | undefined;
  /** Everything was asked and told. */
  readonly done: boolean;
}

/** Failures that say nothing of a configuration, before it is given up. */
const mostAttempts = 3;

interface Open {
  readonly suggestion: Suggestion;
  readonly failedOn: readonly (number | undefined)[];
}

const optionsSchema = z.strictObject({
  fields: fieldsSchema(),
  constraints: z
    .array(
      z.union([
        z.string(),
        z.custom<(params: ServingParams) => true | string>((one) => typeof one === 'function'),
      ]),
    )
    .default([]),
  seed: z.int().default(0),
  groups: z.int().min(1).default(1),
  maxEvaluations: z.int().min(1).default(100),
  surrogate: z.boolean().default(true),
  fitness: z
    .custom<(metrics: Metrics) => number>((one) => typeof one === 'function', 'A function of the metrics')
    .optional(),
});

function checked(options: OptimizerOptions): z.output<typeof optionsSchema> {
  const parsed = optionsSchema.safeParse(options);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = issue?.path ?? [];
  const value = path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key],
    options,
  );
  throw new ConfigValidationError(path.join('.'), value, issue?.message ?? 'wrong options');
}

function spaceOf({ fields, constraints }: z.output<typeof optionsSchema>): SearchSpace {
  const rules = constraints.filter((one) => typeof one === 'string').map((expr) => ({ expr }));
  const predicates = constraints.filter((one) => typeof one === 'function');
  const space = createSearchSpace(fields, { constraints: rules });
  return {
    ...space,
    broken(params) {
      const text = space.broken(params);
      if (text !== undefined) return text;
      return predicates.map((holds) => holds(params)).find((answer) => answer !== true);
    },
  };
}

class Search implements AskAndTell {
  readonly #swarm: PSOOptimizer;
  readonly #fitness: OptimizerOptions['fitness'];
  readonly #parts: MetricParts | undefined;
  readonly #open = new Map<TrialId, Open>();
  readonly #again: TrialId[] = [];
  readonly #params = new Map<TrialId, ServingParams>();
  readonly #metrics = new Map<TrialId, Metrics>();

  constructor(options: OptimizerOptions) {
    const all = checked(options);
    const { seed, maxEvaluations, surrogate } = all;
    const particles = Math.max(10, all.groups);
    this.#fitness = all.fitness;
    this.#parts = all.fitness && new MetricParts(all.fitness);
    this.#swarm = new PSOOptimizer({
      ...{ space: spaceOf(all), seed, maxEvaluations, surrogate, particles, composition: this.#parts },
    });
  }

  ask(group?: number): Asked | undefined {
    const suggestion = this.#retried(group) ?? this.#swarm.ask() ?? this.#retried(undefined);
    if (suggestion === undefined) return undefined;
    const { trialId: id, params } = suggestion;
    if (!this.#open.has(id)) this.#open.set(id, { suggestion, failedOn: [] });
    this.#params.set(id, params);
    return { id, params };
  }

  tell(given: number, told: Told, group?: number): void {
    const id = trialId(given);
    const open = this.#open.get(id);
    if (open === undefined || this.#again.includes(id))
      throw new ConfigValidationError(
        'id',
        given,
        `Nothing is waited for under ${given}: it was told, or never asked`,
      );
    if (!('failed' in told)) {
      const { metrics } = told;
      const fitness = this.#fitnessOf(told);
      const parts = metrics && this.#parts?.of(metrics);
      this.#swarm.tell(id, { kind: 'scored', fitness, parts });
      if (metrics !== undefined) this.#metrics.set(id, metrics);
    } else if (told.failed === 'transient') {
      const failedOn = [...open.failedOn, group];
      if (failedOn.length < mostAttempts) {
        this.#open.set(id, { ...open, failedOn });
        this.#again.push(id);
        return;
      }
      this.#swarm.tell(id, { kind: 'failed' });
    } else this.#swarm.tell(id, { kind: 'infeasible' });
    this.#open.delete(id);
  }

  #fitnessOf(told: Exclude<Told, { failed: unknown }>): Fitness {
    if (told.metrics !== undefined || !('fitness' in told)) this.#parts?.check(told.metrics as Metrics);
    const fitness = 'fitness' in told ? told.fitness : this.#fitness?.(told.metrics);
    if (fitness === undefined || !Number.isFinite(fitness))
      throw new ConfigValidationError(
        'fitness',
        fitness,
        'A fitness is a number; tell { failed: "deterministic" } where there is none',
      );
    return fitness as Fitness;
  }

  get best(): AskAndTell['best'] {
    const { best } = this.#swarm;
    if (best === undefined) return undefined;
    const { trialId: id, fitness } = best;
    return { id, params: this.#params.get(id) ?? {}, fitness, metrics: this.#metrics.get(id) };
  }

  get done(): boolean {
    return this.#swarm.done && this.#open.size === 0;
  }

  /** What failed for somebody else's sake, on another group; with `undefined`, on any. */
  #retried(group: number | undefined): Suggestion | undefined {
    const at = this.#again.findIndex(
      (id) => group === undefined || this.#open.get(id)?.failedOn.includes(group) !== true,
    );
    const [id] = at === -1 ? [] : this.#again.splice(at, 1);
    return id === undefined ? undefined : this.#open.get(id)?.suggestion;
  }
}

/**
 * Ask and tell, synchronous, without any service: an answer is a pure function of the seed and of the order of calls.
 * @throws ConfigValidationError, ConfigPathError naming what is wrong
 */
export function createOptimizer(options: OptimizerOptions): AskAndTell {
  return new Search(options);
}
