import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { compositionOf, partsOf } from '../../src/core/fitness/composition.ts';
import { cost, type FitnessSettings, type Judged } from '../../src/core/fitness/fitness.ts';
import { Surrogate } from '../../src/core/surrogate/surrogate.ts';

const usual: FitnessSettings = {
  ...{ ttft_penalty: 3, tpot_penalty: 3, success_rate_penalty: 5 },
  ...{ ttft_slo: 0.5, tpot_slo: 0.05, success_rate_slo: 1, generate_speed_target: 5000 },
};
const stated = { soft: false, slack: 0 } as const;

const seconds = fc.double({ min: 1e-4, max: 2, noNaN: true });
const latency = fc.record({ mean: seconds, p99: seconds }).map(({ mean, p99 }) => ({
  ...{ mean: mean * 1000, median: mean * 1000, p90: p99 * 1000, p95: p99 * 1000, p99: p99 * 1000 },
}));
const judged: fc.Arbitrary<Judged> = fc.record({
  generate_speed: fc.double({ min: 1, max: 1e5, noNaN: true }),
  time_to_first_token: seconds,
  time_per_output_token: seconds.map((value) => value / 10),
  success_rate: fc.double({ min: 0.5, max: 1, noNaN: true }),
  throughput: fc.constant(10),
  goodput: fc.constant(4),
  percentiles: fc.record({ ttft_ms: latency, tpot_ms: latency, itl_ms: latency, e2el_ms: latency }),
});
const settings: fc.Arbitrary<FitnessSettings> = fc.constantFrom<FitnessSettings>(
  usual,
  { ...usual, ttft_penalty: 0 },
  { ...usual, tpot_penalty: 0, success_rate_penalty: 0 },
  {
    ...usual,
    slos: [
      { name: 'time_to_first_token', statistic: 'p99', limit: 1, ...stated },
      { name: 'time_to_first_token', statistic: 'mean', limit: 0.3, ...stated },
      { name: 'end_to_end_latency', statistic: 'p99', limit: 1, ...stated, soft: true },
    ],
  },
);

describe('the parts of a cost', () => {
  test('add up to it, whatever the SLOs are', () => {
    fc.assert(
      fc.property(judged, settings, (measured, slos) => {
        const { sum, terms } = cost(measured, slos);
        const parts = partsOf(measured, terms, slos);
        expect(parts).not.toContain(null);
        const again = compositionOf(slos)!.cost(parts as number[]);
        expect(Math.abs(Math.log(again / sum))).toBeLessThan(1e-6);
      }),
    );
  });

  test('are not known where nothing was seen yet', () => {
    const early: Judged = {
      ...{ generate_speed: 0, time_to_first_token: 0.2, time_per_output_token: 0, success_rate: 1 },
      throughput: 0,
    };
    const parts = partsOf(early, cost(early, usual).terms, usual);
    expect(parts.map((part) => part === null)).toEqual([true, false, true, false]);
  });
});

describe('a model of parts', () => {
  const slos: FitnessSettings = { ...usual, ttft_penalty: 8 };
  /** More at a time are faster, and beyond 0.62 TTFT leaves its SLO. */
  const measured = (x: number): Judged => ({
    ...{ generate_speed: 400 + 1600 * x, time_to_first_token: 0.1 * Math.exp(2.6 * x) },
    ...{ time_per_output_token: 0.02, success_rate: 1, throughput: 1 },
  });
  const learn = (surrogate: Surrogate, x: number, other: number, hasParts = true): void => {
    const { sum, terms } = cost(measured(x), slos);
    surrogate.learn([x, other], sum, hasParts ? partsOf(measured(x), terms, slos) : undefined);
  };
  const grid = Array.from({ length: 101 }, (_, i) => [i / 100, 0.5]);
  const truth = ([x]: readonly number[]): number => cost(measured(x!), slos).sum;
  const best = Math.min(...grid.map(truth));
  const regret = (surrogate: Surrogate): number => {
    // Length scales are looked for a little with every answer.
    for (let i = 0; i < 5; i++) surrogate.pick(grid, []);
    return truth(grid[surrogate.best(grid, [])]!) / best - 1;
  };
  const fed = (composed: boolean, seed: number): Surrogate => {
    const surrogate = new Surrogate([false, false], composed ? compositionOf(slos) : undefined);
    const rng = createRng(seed);
    for (let i = 0; i < 10; i++) learn(surrogate, rng.next(), rng.next());
    return surrogate;
  };

  test('knows where a latency leaves its SLO sooner than one of their cost', () => {
    const seeds = Array.from({ length: 20 }, (_, seed) => seed);
    const sum = (composed: boolean): number =>
      seeds.reduce((total, seed) => total + regret(fed(composed, seed)), 0);
    expect(sum(true)).toBeLessThan(sum(false) / 2);
    expect(sum(true) / seeds.length).toBeLessThan(0.05);
  });

  test('only its first pick may lie beyond the edge of the SLO; from then on it stays there', () => {
    for (let seed = 0; seed < 10; seed++) {
      const surrogate = fed(true, seed);
      const regrets = Array.from({ length: 8 }, () => {
        const [x = 0, other = 0] = grid[surrogate.pick(grid, [])]!;
        learn(surrogate, x, other);
        return truth([x, other]) / best - 1;
      });
      expect(Math.max(...regrets.slice(1))).toBeLessThan(0.01);
    }
  });

  test('is one of the cost where a result does not tell its parts', () => {
    const [plain, composed] = [fed(false, 1), fed(true, 1)];
    for (const one of [plain, composed]) learn(one, 0.9, 0.4, false);
    expect(composed.pick(grid, [[0.2, 0.2]])).toBe(plain.pick(grid, [[0.2, 0.2]]));
  });

  test('does without a part that is not known', () => {
    const surrogate = fed(true, 2);
    surrogate.learn([0.95, 0.5], 50, [Math.log(2), null, Math.log(0.02), null]);
    expect(regret(surrogate)).toBeLessThan(0.1);
  });

  test('is none where goodput is what counts', () => {
    expect(compositionOf({ ...usual, objective: 'goodput' })).toBeUndefined();
  });

  test('knows that a cost below 0 is better than all above it', () => {
    const surrogate = new Surrogate([false, false], { cost: ([part = 0]) => part });
    const rng = createRng(6);
    for (let i = 0; i < 12; i++) {
      const [x, other] = [0.45 * rng.next(), rng.next()];
      surrogate.learn([x, other], 1 - 2 * x, [1 - 2 * x]);
    }
    expect(grid[surrogate.pick(grid, [])]![0]).toBeGreaterThan(0.45);
  });

  test('compares costs below 0, and those that are none', () => {
    const surrogate = new Surrogate([false, false], {
      cost: ([speed = 0, ttft = 0]) => (ttft > 1 ? NaN : -Math.exp(speed)),
    });
    const rng = createRng(5);
    for (let i = 0; i < 12; i++) {
      const [x, other] = [rng.next() * 0.7, rng.next()];
      surrogate.learn([x, other], -Math.exp(x), [x, 1.5 * x - 0.05]);
    }
    const [x = 0] = grid[surrogate.pick(grid, [])]!;
    expect(x).toBeGreaterThan(0.6);
    expect(x).toBeLessThan(0.8);
  });
});
