import { expect, test } from 'vitest';
import { groupId } from '../../src/base/units.ts';
import type { PerformanceIndex } from '../../src/core/fitness/fitness.ts';
import { GroupSpeeds, type GroupPolicy } from '../../src/parallel/group-speeds.ts';
import type { BenchmarkResult } from '../../src/parallel/ports.ts';

const performance = (speed: number, ttft = 0.2, tpot = 0.02): PerformanceIndex => ({
  generate_speed: speed,
  time_to_first_token: ttft,
  time_per_output_token: tpot,
  success_rate: 1,
  throughput: speed / 100,
});

function speeds(policy: GroupPolicy, known: readonly (PerformanceIndex | null)[]): GroupSpeeds {
  const made = new GroupSpeeds({ policy, tolerance: 0.1 });
  known.forEach((one, id) => {
    const group = { id: groupId(id), hosts: [`n${id}`] };
    made.begin(group);
    made.ended(group, one);
  });
  made.choose();
  return made;
}

const result: BenchmarkResult = {
  performance: performance(80, 0.5, 0.04),
  percentiles: { ttft_ms: { p99: 800 }, tpot_ms: { mean: 40 } },
  goodput: 0.4,
  numPrompts: 10,
  raw: [],
  flags: ['odd'],
};

test.each<[string, readonly number[], number]>([
  ['the largest number that are alike', [100, 50, 52, 49, 101], 1],
  ['of as many the fastest', [50, 100], 1],
  ['whoever came first', [200, 100, 105, 98], 2],
])('what the others are compared with: %s', (_name, known, reference) => {
  const made = speeds(
    'normalize',
    known.map((speed) => performance(speed)),
  );
  const chosen = known[Number(made.reference)]!;
  expect(Math.abs(chosen / known[reference]! - 1)).toBeLessThan(0.1);
});

test('each metric is scaled by its own share; what was measured stays beside it', () => {
  const made = speeds('normalize', [performance(100), performance(100), performance(50, 0.5, 0.03)]);
  const scaled = made.scaled(groupId(2), result);
  expect(scaled.performance.generate_speed).toBeCloseTo(160);
  expect(scaled.performance.time_to_first_token).toBeCloseTo(0.2);
  expect(scaled.performance.time_per_output_token).toBeCloseTo(0.04 / 1.5);
  expect(scaled.performance.success_rate).toBe(1);
  expect(scaled.percentiles.ttft_ms?.p99).toBeCloseTo(320);
  expect(scaled.percentiles.tpot_ms?.mean).toBeCloseTo(40 / 1.5);
  expect(scaled.goodput).toBeCloseTo(0.8);
  expect(scaled.raw_performance).toEqual(result.performance);
  expect(scaled.flags).toEqual([
    'odd',
    'normalised: group 2 serves the present configuration at 0.50 × the speed of group 0',
  ]);
  expect(made.scaled(groupId(1), result)).toBe(result);
});

test('a group that does not serve the present configuration is compared with nobody, and says so', () => {
  const made = speeds('normalize', [performance(100), null]);
  expect(made.deviates(groupId(1))).toBe(true);
  const same = made.scaled(groupId(1), result);
  expect(same.performance).toEqual(result.performance);
  expect(same.flags.at(-1)).toMatch(/group 1 does not serve the present configuration/);
});

test('other machines in the place of a group are unknown', () => {
  const made = speeds('normalize', [performance(100)]);
  expect(made.isKnown({ id: groupId(0), hosts: ['n0'] })).toBe(true);
  expect(made.isKnown({ id: groupId(0), hosts: ['n9'] })).toBe(false);
});
