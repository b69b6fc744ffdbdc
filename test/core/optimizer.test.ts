import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Fitness } from '../../src/base/units.ts';
import type { Optimizer, SearchOptions } from '../../src/core/pso/optimizer.ts';
import { PSOOptimizer } from '../../src/core/pso/pso.ts';
import { RandomSearch } from '../../src/core/pso/random.ts';
import { constriction } from '../../src/core/pso/step.ts';
import { SynchronousPso } from '../../src/core/pso/synchronous.ts';
import type { Field } from '../../src/core/space/field.ts';
import { createSearchSpace, paramsKey } from '../../src/core/space/space.ts';

const field = (more: Partial<Field>): Field => ({
  name: 'x',
  config_position: 'env',
  min: 0,
  max: 1,
  dtype: 'float',
  value: 0.5,
  dtype_param: null,
  constant: null,
  ...more,
});
const space = createSearchSpace([
  field({ name: 'x', min: -5, max: 5, value: 4 }),
  field({ name: 'n', dtype: 'int', min: 1, max: 64, value: 63 }),
  field({ name: 'flag', dtype: 'bool', value: true }),
]);

const makers: Record<string, (options: SearchOptions) => Optimizer> = {
  PSOOptimizer: (options) => new PSOOptimizer({ ...options, particles: 6 }),
  'PSOOptimizer with a surrogate': (options) =>
    new PSOOptimizer({ ...options, particles: 6, surrogate: true }),
  SynchronousPso: (options) =>
    new SynchronousPso({
      ...options,
      particles: 6,
      coefficients: constriction,
      ftol: -Infinity,
      ftolIter: 1,
    }),
  RandomSearch: (options) => new RandomSearch(options),
};

const sphere = (params: Readonly<Record<string, unknown>>): Fitness =>
  ((Number(params['x']) - 1) ** 2 + ((Number(params['n']) - 20) / 64) ** 2) as Fitness;

function run(optimizer: Optimizer): string[] {
  const keys: string[] = [];
  while (!optimizer.done) {
    const suggestion = optimizer.ask()!;
    keys.push(paramsKey(suggestion.params));
    optimizer.tell(suggestion.trialId, { kind: 'scored', fitness: sphere(suggestion.params) });
  }
  return keys;
}

describe.each(Object.entries(makers))('%s', (_name, make) => {
  test('asks the present configuration first, and no more than it may', () => {
    const optimizer = make({ space, seed: 1, maxEvaluations: 24 });
    const first = optimizer.ask()!;
    expect(first.params).toEqual({ x: 4, n: 63, flag: true });
    expect(first.origin).toBe('current');
    optimizer.tell(first.trialId, { kind: 'failed' });
    expect(run(optimizer)).toHaveLength(23);
    expect(optimizer.ask()).toBeUndefined();
  });

  test('is decided by its seed', () => {
    const keys = (seed: number): string[] => run(make({ space, seed, maxEvaluations: 30 }));
    expect(keys(7)).toEqual(keys(7));
    expect(keys(7)).not.toEqual(keys(8));
  });

  test('refuses an answer that nobody asked for, and a second one', () => {
    const optimizer = make({ space, seed: 1, maxEvaluations: 24 });
    const { trialId } = optimizer.ask()!;
    optimizer.tell(trialId, { kind: 'infeasible' });
    expect(() => optimizer.tell(trialId, { kind: 'infeasible' })).toThrow(/told twice or never asked/);
  });

  test('whatever the outcomes and their order, positions stay in the cube and the best is the best', () => {
    const outcome = fc.oneof(
      fc
        .double({ min: 0, max: 1e6, noNaN: true })
        .map((fitness) => ({ kind: 'scored' as const, fitness: fitness as Fitness })),
      fc.constant({ kind: 'infeasible' as const }),
      fc.constant({ kind: 'failed' as const }),
    );
    fc.assert(
      fc.property(
        fc.array(outcome, { minLength: 30, maxLength: 30 }),
        fc.array(fc.nat(3), { minLength: 30, maxLength: 30 }),
        (outcomes, picks) => {
          const optimizer = make({ space, seed: 3, maxEvaluations: 30 });
          const flying: number[] = [];
          let best = Infinity;
          let told = 0;
          while (told < 30) {
            while (flying.length < 4) {
              const suggestion = optimizer.ask();
              if (suggestion === undefined) break;
              for (const u of suggestion.position) expect(u >= 0 && u <= 1).toBe(true);
              flying.push(suggestion.trialId);
            }
            const [id] = flying.splice(picks[told]! % flying.length, 1);
            const judgement = outcomes[told++]!;
            if (judgement.kind === 'scored') best = Math.min(best, judgement.fitness);
            optimizer.tell(id as never, judgement);
          }
          expect(optimizer.best?.fitness ?? Infinity).toBe(best);
        },
      ),
      { numRuns: 60 },
    );
  });
});

test('the swarm comes nearer to the optimum than random search', () => {
  const best = (make: (options: SearchOptions) => Optimizer, seed: number): number => {
    const optimizer = make({ space, seed, maxEvaluations: 80 });
    run(optimizer);
    return optimizer.best!.fitness;
  };
  const seeds = Array.from({ length: 20 }, (_, seed) => seed);
  const wins = seeds.filter(
    (seed) => best(makers['PSOOptimizer']!, seed) < best(makers['RandomSearch']!, seed),
  );
  expect(wins.length).toBeGreaterThan(14);
});

test('the asynchronous swarm does not ask for the same configuration twice while there are others', () => {
  const keys = run(new PSOOptimizer({ space, seed: 5, maxEvaluations: 60, particles: 6 }));
  expect(new Set(keys).size).toBe(60);
});

test.each(['linear', 'log', 'sqrt'] as const)(
  'every integer survives the way into the cube and back (%s)',
  (scale) => {
    const one = createSearchSpace([field({ name: 'n', dtype: 'int', min: 1, max: 1000, value: 1, scale })]);
    for (let n = 1; n <= 1000; n++) expect(one.decode(one.encode({ n }))['n']).toBe(n);
    const middle = one.decode([0.5])['n'];
    expect(middle).toBe({ linear: 500, log: 31, sqrt: 266 }[scale]);
  },
);

test('a scale needs numbers that it is defined for', () => {
  const refused = (more: Partial<Field>) => expect(() => createSearchSpace([field(more)]));
  refused({ scale: 'sqrt', min: -1 }).toThrow('must be 0 or above on a sqrt scale');
  refused({ scale: 'log', min: 0 }).toThrow('must be above 0 on a log scale');
  refused({ scale: 'sqrt', dtype: 'bool' }).toThrow('Only int and float have a scale');
});
