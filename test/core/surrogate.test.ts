import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { nextRow, solveLower, solveUpper } from '../../src/core/surrogate/cholesky.ts';
import {
  Covariance,
  GaussianProcess,
  HyperparameterSearch,
  type Point,
} from '../../src/core/surrogate/gaussian.ts';
import { warped } from '../../src/core/surrogate/costs.ts';
import { expectedImprovement, normalPoints } from '../../src/core/surrogate/improvement.ts';
import { Surrogate } from '../../src/core/surrogate/surrogate.ts';

const rng = createRng(1);
const uniform = (n: number, d: number): number[][] =>
  Array.from({ length: n }, () => Array.from({ length: d }, () => rng.next()));

test('Cholesky solves what it factors, and survives what has no factor', () => {
  const n = 12;
  const a = uniform(n, n);
  // A·Aᵀ + I is positive definite.
  const matrix = a.map((ai, i) =>
    a.map((aj, j) => ai.reduce((sum, aik, k) => sum + aik * aj[k]!, 0) + Number(i === j)),
  );
  const wanted = Float64Array.from({ length: n }, (_, i) => i - 3);
  const b = Float64Array.from(matrix, (row) => row.reduce((sum, x, j) => sum + x * wanted[j]!, 0));
  const lower: Float64Array[] = [];
  for (const [i, row] of matrix.entries())
    lower.push(nextRow(lower, Float64Array.from(row.slice(0, i)), row[i]!));
  const found = solveUpper(lower, solveLower(lower, b));
  for (const [i, x] of found.entries()) expect(x).toBeCloseTo(wanted[i]!, 9);
  const first = [nextRow([], new Float64Array(), 1)];
  expect(nextRow(first, Float64Array.from([2]), 1)[1]).toBeGreaterThan(0);
});

const processOf = (
  points: readonly Point[],
  y: readonly number[],
  unordered: readonly boolean[],
  parameters: { lengths: readonly number[]; noise: number },
): GaussianProcess => new GaussianProcess(new Covariance(unordered, parameters).extended(points), y);

describe('a Gaussian process', () => {
  const points = uniform(60, 3);
  // The third coordinate says nothing.
  const f = ([x, y]: readonly number[]): number => Math.sin(5 * x!) + 2 * (y! - 0.4) ** 2;
  const ordered = [false, false, false];
  const y = points.map(f);
  const centred = Float64Array.from(y, (yi) => yi - y.reduce((sum, one) => sum + one, 0) / y.length);
  const search = new HyperparameterSearch(ordered);
  let found = new Covariance(ordered, search.parameters).extended(points);
  // A little at a time: four coordinates, the noise included, up and down, three times.
  for (let i = 0; i < 12; i++) found = search.improve(found, centred, 2);
  const { parameters } = found;
  const process = processOf(points, y, ordered, parameters);

  test('predicts what it has not seen, and knows where it has seen nothing', () => {
    const others = uniform(200, 3);
    const errors = others.map((point) => Math.abs(process.predict(point).mean - f(point)));
    expect(errors.sort((a, b) => a - b)[100]).toBeLessThan(0.05);
    const near = process.predict(points[0]!).sd;
    expect(process.predict([5, 5, 5]).sd).toBeGreaterThan(5 * near);
  });

  test('knows what it thinks of its own points without looking at them again', () => {
    const others = points.map((point) => process.mean(point));
    for (const [i, fitted] of process.fitted.entries()) expect(fitted).toBeCloseTo(others[i]!, 8);
  });

  test('finds that a coordinate does not matter', () => {
    const [first, , third] = parameters.lengths;
    expect(third!).toBeGreaterThan(2 * first!);
  });

  test('its intervals hold what they should', () => {
    const others = uniform(400, 3);
    const inside = others.filter((point) => {
      const { mean, sd } = process.predict(point);
      return Math.abs(mean - f(point)) < 2 * sd;
    });
    expect(inside.length / others.length).toBeGreaterThan(0.85);
  });

  test('a choice without order is equal or it is not', () => {
    const choices = [[0.1], [0.1], [0.5], [0.9]];
    const one = processOf(choices, [1, 1, 5, 9], [true], { lengths: [0.5], noise: 1e-3 });
    expect(one.mean([0.1])).toBeCloseTo(1, 0);
    expect(one.mean([0.3])).toBeCloseTo(one.mean([0.7]), 9);
  });

  test('the same point measured twice is no trouble', () => {
    const twice = [[0.5], [0.5], [0.5]];
    const { mean, sd } = processOf(twice, [1, 2, 3], [false], {
      lengths: [1],
      noise: 1e-4,
    }).predict([0.5]);
    expect(mean).toBeCloseTo(2, 1);
    expect(sd).toBeGreaterThan(0);
  });
});

test('points of a normal are spread evenly, and centred', () => {
  for (const n of [1, 2, 4]) {
    const points = normalPoints(24, n);
    for (let d = 0; d < n; d++) {
      const column = points.map((point) => point[d]!);
      expect(column.reduce((sum, x) => sum + x, 0)).toBeCloseTo(0, 9);
      expect(column.reduce((sum, x) => sum + x * x, 0) / 24).toBeCloseTo(1, 9);
      expect(Math.max(...column)).toBeLessThan(3);
    }
    expect(normalPoints(24, n)).toBe(points);
  }
});

test('expected improvement: of what is certain the gain, and never below nothing', () => {
  expect(expectedImprovement(1, 1e-9, 3)).toBeCloseTo(2, 6);
  expect(expectedImprovement(3, 1e-9, 1)).toBe(0);
  expect(expectedImprovement(0, 1, 0)).toBeCloseTo(0.3989, 4);
  fc.assert(
    fc.property(
      fc.double({ min: -50, max: 50, noNaN: true }),
      fc.double({ min: 1e-6, max: 50, noNaN: true }),
      (mean, sd) => {
        const value = expectedImprovement(mean, sd, 0);
        expect(value).toBeGreaterThanOrEqual(Math.max(0, -mean) - 1e-5 * sd);
      },
    ),
  );
});

test('costs keep their order whatever their sign', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 2, maxLength: 20 }),
      (costs) => {
        const seen = warped(costs);
        for (const [i, a] of costs.entries())
          for (const [j, b] of costs.entries()) if (a < b) expect(seen[i]!).toBeLessThanOrEqual(seen[j]!);
        expect(seen.every(Number.isFinite)).toBe(true);
      },
    ),
    { examples: [[[0, -5e-324, 8.9e-16]]] },
  );
});

describe('a surrogate', () => {
  const learned = (): Surrogate => {
    const surrogate = new Surrogate([false, false]);
    for (const point of uniform(40, 2)) {
      const [x, y] = point as [number, number];
      surrogate.learn(point, x > 0.7 ? undefined : 1 + (x - 0.5) ** 2 + (y - 0.2) ** 2);
    }
    return surrogate;
  };

  test('picks what is near the optimum, and not what cannot be served', () => {
    const surrogate = learned();
    expect(surrogate.isReady).toBe(true);
    const candidates = [
      [0.9, 0.2],
      [0.1, 0.9],
      [0.5, 0.21],
      [0.3, 0.6],
    ];
    expect(surrogate.pick(candidates, [])).toBe(2);
  });

  test('goes where nobody was in the hope of an improvement, and to what is likely to be best when that is asked', () => {
    const surrogate = new Surrogate([false, false]);
    for (const [x, y] of uniform(40, 2)) surrogate.learn([x! * 0.6, y!], 1 + (x! * 0.6 - 0.3) ** 2);
    for (const y of [0, 0.02, 0.04]) surrogate.learn([0.3, y], undefined);
    const candidates = [
      [1, 0.6],
      [0.36, 0.6],
      [0.3, 0.01],
    ];
    expect(surrogate.pick(candidates, [])).toBe(0);
    expect(surrogate.best(candidates, [])).toBe(1);
    expect(surrogate.best([candidates[2]!, [0.05, 0.9]], [])).toBe(1);
  });

  test('does not look twice where something is being measured', () => {
    const surrogate = new Surrogate([false, false]);
    // Uphill to the right, where nobody has been.
    for (const [x, y] of uniform(12, 2)) surrogate.learn([x! * 0.3, y!], 2 - x!);
    const grid = Array.from({ length: 400 }, (_, at) => [(at % 20) / 19, Math.floor(at / 20) / 19]);
    const first = grid[surrogate.pick(grid, [])]!;
    const second = grid[surrogate.pick(grid, [first])]!;
    expect(first[0]!).toBeGreaterThan(0.3);
    expect(Math.hypot(first[0]! - second[0]!, first[1]! - second[1]!)).toBeGreaterThan(0.1);
  });

  test('of costs that are all alike it picks what can be served', () => {
    const surrogate = new Surrogate([false]);
    for (const [x] of uniform(20, 1)) surrogate.learn([x!], x! > 0.5 ? 7 : undefined);
    expect(surrogate.pick([[0.1], [0.9], [0.2]], [])).toBe(1);
  });

  test('needs some results, and some good ones', () => {
    const surrogate = new Surrogate([false]);
    for (let i = 0; i < 7; i++) surrogate.learn([i / 10], i < 3 ? 1 : undefined);
    expect(surrogate.isReady).toBe(false);
    surrogate.learn([0.9], 2);
    expect(surrogate.isReady).toBe(true);
  });
});
