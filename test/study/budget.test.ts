import { describe, expect, test } from 'vitest';
import { groupId, ms, trialId } from '../../src/base/units.ts';
import { parseDuration } from '../../src/config/duration.ts';
import type { TrialRecord } from '../../src/parallel/records.ts';
import { Budget, type BudgetOptions } from '../../src/study/budget.ts';

const options: BudgetOptions = {
  ...{ seconds: 7200, usedSeconds: 0, groups: 4, maxEvaluations: 50, confirmations: 12, probes: 5 },
  ...{ presets: 3, expectedStart: 480, expectedBenchmark: 180, patience: undefined },
};

const told = (id: number, fitness: number, seconds = { start_s: 100, benchmark_s: 100 }): TrialRecord => ({
  ...{ trial_id: trialId(id), group_id: groupId(0), params: { x: id }, failed_attempts: [] },
  ...{ reused_from: null, confirms: null, started_at: '', finished_at: '', duration_s: 200 },
  ...{ num_prompts: 100, ...seconds },
  verdict: {
    ...{ kind: 'scored', fitness, terms: { generate_speed: 1, success_rate: 1 }, percentiles: {} },
    ...{ violations: [], flags: [] },
    performance: {
      ...{ generate_speed: 1, time_to_first_token: 1, time_per_output_token: 1 },
      ...{ success_rate: 1, throughput: 1 },
    },
  },
});

describe('a budget', () => {
  test('says beforehand what fits, and what for', () => {
    const { outlook } = { outlook: new Budget(options, () => ms(0)).outlook([]) };
    // 1380 s a configuration; 3 rounds of 660 s confirm.
    expect(outlook).toContain('about 12 configurations fit into 2 h 00 min on 4 group(s)');
    expect(outlook).toContain('the present one, 3 of 3 presets, 8 by search; then 12 measurements confirm');
    const short = new Budget({ ...options, seconds: 3600, groups: 1 }, () => ms(0)).outlook([]);
    expect(short).toContain('nothing can be measured in the 1 h 00 min');
    expect(new Budget({ ...options, expectedStart: undefined }, () => ms(0)).outlook([])).toBeUndefined();
    const unlimited = new Budget({ ...options, seconds: undefined }, () => ms(0));
    expect(unlimited.outlook([])).toMatch(/50 configurations on 4 group\(s\) take about 5 h/);
  });

  test('begins nothing that cannot end, and keeps its tail for the answer', () => {
    let now = 0;
    const budget = new Budget(options, () => ms(now * 1000));
    const known = [told(0, 1), told(1, 1)];
    // 200 s a trial, 3 rounds of confirmations of 200 s: 820 s must be left.
    now = 7200 - 821;
    expect(budget.allowsSearch(known)).toBe(true);
    now = 7200 - 819;
    expect(budget.allowsSearch(known)).toBe(false);
    expect(budget.allowsConfirmation(known)).toBe(true);
    now = 7200 - 199;
    expect(budget.allowsConfirmation(known)).toBe(false);
  });

  test('counts what earlier sessions of the run used', () => {
    const budget = new Budget({ ...options, usedSeconds: 7000 }, () => ms(0));
    expect(budget.allowsSearch([told(0, 1)])).toBe(false);
  });

  test('patience ends the search when nothing is gained for long', () => {
    const patient = new Budget({ ...options, patience: 3 }, () => ms(0));
    const gains = [told(0, 1), told(1, 0.9), told(2, 0.895), told(3, 0.95)];
    expect(patient.isExhausted(gains)).toBe(false);
    expect(patient.isExhausted([...gains, told(4, 0.9)])).toBe(true);
    expect(new Budget(options, () => ms(0)).isExhausted([...gains, told(4, 0.9)])).toBe(false);
  });
});

test.each([
  ['2h', 7200],
  ['90min', 5400],
  ['1h30m', 5400],
  ['45 s', 45],
  ['600', 600],
  ['soon', undefined],
  ['2h later', undefined],
  ['-5', undefined],
  ['', undefined],
])('%s is %s s', (text, seconds) => {
  expect(parseDuration(text)).toBe(seconds);
});
