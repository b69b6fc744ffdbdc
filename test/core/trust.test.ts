import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseSlo } from '../../src/config/slo-text.ts';
import { cost, fitness, type FitnessSettings } from '../../src/core/fitness/fitness.ts';
import { binding, violations } from '../../src/core/fitness/slo.ts';
import { studentCdf, studentQuantile } from '../../src/core/trust/student.ts';
import { pooledNoise, probabilityAbove, rerunInterval } from '../../src/core/trust/trust.ts';
import { createRng } from '../../src/base/rng.ts';
import { normal } from '../../src/core/pso/draws.ts';

const keys: FitnessSettings = {
  ...{ ttft_penalty: 1, tpot_penalty: 0, success_rate_penalty: 5 },
  ...{ ttft_slo: 1, tpot_slo: 0.05, success_rate_slo: 1, generate_speed_target: 5000 },
};
const measured = {
  ...{ generate_speed: 1000, time_to_first_token: 0.4, time_per_output_token: 0.04 },
  ...{ success_rate: 0.995, throughput: 8 },
  percentiles: { ttft_ms: { mean: 400, p99: 900 }, tpot_ms: { mean: 40 }, e2el_ms: { p95: 9000 } },
};

describe('an SLO in words', () => {
  test.each([
    ['ttft:p99<=500ms', { name: 'time_to_first_token', statistic: 'p99', limit: 0.5, soft: false, slack: 0 }],
    [
      'tpot:mean <= 50 ms soft',
      { name: 'time_per_output_token', statistic: 'mean', limit: 0.05, soft: true },
    ],
    ['success>=99%', { name: 'success_rate', limit: 0.99 }],
    ['success>=0.99', { name: 'success_rate', limit: 0.99 }],
    ['E2EL:P95<=10s slack 5%', { name: 'end_to_end_latency', statistic: 'p95', limit: 10, slack: 0.05 }],
    ['ttft:p99.9<=2s', { name: 'time_to_first_token', statistic: 'p99.9', limit: 2 }],
    ['itl:p50<=900us', { name: 'inter_token_latency', statistic: 'median', limit: 0.0009 }],
  ])('%s', (text, expected) => {
    const { limit, ...rest } = parseSlo(text);
    const { limit: wanted, ...others } = expected;
    expect(rest).toMatchObject(others);
    expect(limit).toBeCloseTo(wanted, 9);
  });

  test.each([
    ['fast', 'not understood'],
    ['latency<=5ms', 'known are ttft, tpot'],
    ['ttft:p100<=5ms', 'has no p100'],
    ['ttft:fast<=5ms', 'has no fast'],
    ['success:p99>=1', 'has no p99'],
    ['ttft>=5ms', 'must say <='],
    ['success<=1', 'must say >='],
    ['ttft<=500', 'needs a unit'],
    ['success>=120%', 'nothing can have'],
    ['success>=1ms', 'a share or %'],
    ['ttft<=5ms please', "ends with 'please'"],
  ])('%s is refused', (text, why) => {
    expect(() => parseSlo(text)).toThrow(why);
  });

  const slosOf = (...texts: string[]): FitnessSettings => ({ ...keys, slos: texts.map(parseSlo) });

  test('replaces the key about its metric and leaves the others', () => {
    expect(violations(measured, keys).map(({ slo }) => slo)).toEqual(['success_rate']);
    expect(violations(measured, slosOf('ttft:p99<=500ms'))).toEqual([
      { slo: 'success_rate', limit: 1, measured: 0.995 },
      { slo: 'time_to_first_token', statistic: 'p99', limit: 0.5, measured: 0.9 },
    ]);
    expect(violations(measured, slosOf('success>=0.99', 'ttft:p99<=850ms slack 10%'))).toEqual([]);
  });

  test('that is soft costs, and stops no recommendation', () => {
    const soft = slosOf('success>=0.99', 'ttft:p99<=500ms soft');
    expect(violations(measured, soft)).toEqual([]);
    const terms = cost(measured, soft).terms;
    expect(terms.time_to_first_token).toBeCloseTo(0.2 * Math.exp(0.9 / 0.5 - 1), 9);
  });

  test('about a statistic that is not reported is an error that says so', () => {
    expect(() => fitness(measured, slosOf('itl:p90<=5ms'))).toThrow('p90 of inter_token_latency');
    expect(() => fitness(measured, { ...keys, objective: 'goodput' })).toThrow('goodput');
  });

  test('the one that is missed by most binds', () => {
    const missed = violations(measured, slosOf('ttft:p99<=100ms', 'e2el:p95<=8s', 'success>=1'));
    expect(binding(missed)?.slo).toBe('time_to_first_token');
  });
});

describe("Student's distribution", () => {
  // Published two-sided 95 % points.
  test.each([
    [1, 12.706],
    [2, 4.303],
    [8, 2.306],
    [30, 2.042],
    [1000, 1.962],
  ])('with %i degrees of freedom', (degrees, point) => {
    expect(studentQuantile(0.975, degrees)).toBeCloseTo(point, 3);
    expect(studentCdf(point, degrees)).toBeCloseTo(0.975, 4);
    expect(studentCdf(-point, degrees)).toBeCloseTo(0.025, 4);
  });
});

describe('trust', () => {
  test('the interval covers the mean of a second series in 95 of 100 studies', () => {
    const rng = createRng(7);
    const runs = (truth: number): number[] =>
      Array.from({ length: 3 }, () => truth * Math.exp(0.03 * normal(rng)));
    let covered = 0;
    for (let study = 0; study < 2000; study++) {
      const all = [100, 120, 110, 90].map(runs);
      const noise = pooledNoise(all);
      if (noise === undefined) throw new Error('no noise');
      const { low, high } = rerunInterval(all[1] as number[], noise);
      const again = Math.exp(runs(120).reduce((sum, value) => sum + Math.log(value), 0) / 3);
      if (low <= again && again <= high) covered++;
    }
    expect(covered / 2000).toBeGreaterThan(0.935);
    expect(covered / 2000).toBeLessThan(0.965);
  });

  test('a probability is between 0 and 1, and turns round with its question', () => {
    const values = fc.array(fc.double({ min: 1, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(values, values, fc.double({ min: 0.001, max: 1, noNaN: true }), (a, b, sd) => {
        const p = probabilityAbove(a, b, { sd, degrees: 5 });
        expect(p).toBeGreaterThanOrEqual(0);
        expect(p + probabilityAbove(b, a, { sd, degrees: 5 })).toBeCloseTo(1, 6);
      }),
    );
    expect(probabilityAbove([5], [5], { sd: 0, degrees: 1 })).toBe(0.5);
    expect(probabilityAbove([6], [5], { sd: 0, degrees: 1 })).toBe(1);
    expect(pooledNoise([[1], [2]])).toBeUndefined();
  });
});
