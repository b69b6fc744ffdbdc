import { describe, expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { Condition } from '../../src/base/condition.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createRng } from '../../src/base/rng.ts';
import { ms, trialId } from '../../src/base/units.ts';
import type { FitnessSettings } from '../../src/core/fitness/fitness.ts';
import type { Suggestion } from '../../src/core/pso/optimizer.ts';
import { PSOOptimizer } from '../../src/core/pso/pso.ts';
import { createSearchSpace } from '../../src/core/space/space.ts';
import { Budget } from '../../src/study/budget.ts';
import { requestsNeeded, tooFew } from '../../src/core/fitness/enough.ts';
import { canaryFlags, canaryOf, unlikeSiblings } from '../../src/report/artefacts.ts';
import { trustOf } from '../../src/report/trust.ts';
import { confirmations } from '../../src/study/confirmation.ts';
import { bestOf, candidates } from '../../src/parallel/candidates.ts';
import type { JournalEntry, TrialRecord } from '../../src/parallel/records.ts';
import { replay } from '../../src/study/replay.ts';
import { tune } from '../../src/study/tune.ts';

const evaluations = 40;
const groups = 4;

const space = createSearchSpace(
  ['x', 'y'].map((name) => ({
    name,
    config_position: 'env',
    min: 0,
    max: 1,
    dtype: 'float' as const,
    value: 0.5,
    dtype_param: null,
    constant: null,
  })),
);

const optimizerOf = (seed: number): PSOOptimizer =>
  new PSOOptimizer({ space, seed, maxEvaluations: evaluations, particles: 6 });

function recordOf({ trialId, params, confirms }: Suggestion): TrialRecord {
  const fitness = (Number(params['x']) - 0.3) ** 2 + (Number(params['y']) - 0.7) ** 2;
  const performance = {
    generate_speed: 1 / fitness,
    time_to_first_token: 0.1,
    time_per_output_token: 0.01,
    success_rate: 1,
    throughput: 1,
  };
  return {
    trial_id: trialId,
    group_id: null,
    params,
    verdict: {
      kind: 'scored',
      fitness,
      terms: { generate_speed: fitness, success_rate: 0 },
      performance,
      percentiles: {},
      violations: [],
      flags: [],
    },
    failed_attempts: [],
    reused_from: null,
    confirms: confirms ?? null,
    started_at: '',
    finished_at: '',
    start_s: 0,
    benchmark_s: 0,
    duration_s: 0,
    num_prompts: 1,
  };
}

const slos: FitnessSettings = {
  ttft_penalty: 1,
  tpot_penalty: 0,
  success_rate_penalty: 5,
  ttft_slo: 1,
  tpot_slo: 0.05,
  success_rate_slo: 1,
  generate_speed_target: 5000,
};

const unlimited = {
  ...{ seconds: undefined, usedSeconds: 0, groups, maxEvaluations: evaluations, confirmations: 8, probes: 1 },
  ...{ presets: 0, expectedStart: undefined, expectedBenchmark: undefined, patience: undefined },
};

/** A whole study whose disk and machines take a different time for everything; goes on where `earlier` ends. */
async function journalOf(seed: number, earlier: readonly JournalEntry[] = []): Promise<JournalEntry[]> {
  const rng = createRng(seed).fork('delays');
  const delay = async (): Promise<void> => systemClock.sleep(ms(rng.next() * 3), never);
  const entries: JournalEntry[] = [...earlier];
  const optimizer = optimizerOf(seed);
  const progress = replay(earlier, optimizer);
  const changed = new Condition();
  let flying = 0;
  await tune(
    {
      optimizer,
      pool: { changed },
      dispatcher: {
        get hasRoom() {
          return flying < groups;
        },
        isWarm: () => false,
        async evaluate(suggestion, told) {
          flying++;
          await delay();
          const record = recordOf(suggestion);
          const durable = told(record);
          flying--;
          changed.notify();
          await durable;
          return record;
        },
      },
      store: {
        directory: '/nowhere',
        runId: 'run',
        async append(entry) {
          entries.push(entry);
          await delay();
        },
        keep: async () => Promise.resolve(),
        [Symbol.asyncDispose]: async () => Promise.resolve(),
      },
      events: { emit: () => undefined },
      clock: systemClock,
      refinement: undefined,
      budget: new Budget(unlimited, () => systemClock.now()),
      evaluations,
      confirmation: { runs: 2, finalists: 3, slos },
      progress,
    },
    never,
  );
  return entries;
}

const toldOf = (entries: readonly JournalEntry[]): TrialRecord[] =>
  entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));

describe('the journal of a study', () => {
  test.each([1, 2, 3, 4])('can be replayed from every one of its prefixes (seed %i)', async (seed) => {
    const entries = await journalOf(seed);
    expect(toldOf(entries)).toHaveLength(evaluations + 2 * 4);
    for (let length = 0; length <= entries.length; length++) {
      const prefix = entries.slice(0, length);
      const { told, pending } = replay(prefix, optimizerOf(seed));
      const asked = prefix.filter(({ type }) => type === 'asked');
      expect(told.length + pending.length).toBe(asked.length);
    }
  });

  test('goes on from any moment of the search and of the confirmation, with nothing lost and nothing twice', async () => {
    const whole = await journalOf(5);
    const ids = Array.from({ length: evaluations + 8 }, (_, i) => i);
    for (let length = 1; length < whole.length; length += 9) {
      const told = toldOf(await journalOf(5, whole.slice(0, length)));
      expect(told.map(({ trial_id }) => trial_id as number).sort((a, b) => a - b)).toEqual(ids);
    }
  });
});

describe('the confirmation', () => {
  test('measures the baseline and the finalists again, there and back', async () => {
    const told = toldOf(await journalOf(6));
    const again = told.filter(({ confirms }) => confirms !== null).sort((a, b) => a.trial_id - b.trial_id);
    const speed = (record: TrialRecord): number =>
      record.verdict.kind === 'scored' ? (record.verdict.performance.generate_speed ?? 0) : 0;
    const best = told
      .filter(({ confirms, trial_id }) => confirms === null && trial_id !== 0)
      .sort((a, b) => speed(b) - speed(a))
      .slice(0, 3)
      .map(({ trial_id }) => trial_id);
    expect(again.map(({ confirms }) => confirms)).toEqual([0, ...best, ...[0, ...best].reverse()]);
  });

  const of = (
    trial: number,
    speed: number,
    params: number,
    confirms: number | null,
    ttft = 0.1,
  ): TrialRecord => {
    const record = recordOf({
      trialId: trialId(trial),
      params: { x: params, y: 0 },
    } as unknown as Suggestion);
    if (record.verdict.kind !== 'scored') throw new Error('not scored');
    const performance = { ...record.verdict.performance, generate_speed: speed, time_to_first_token: ttft };
    return {
      ...record,
      confirms: confirms === null ? null : trialId(confirms),
      verdict: { ...record.verdict, performance },
    };
  };
  const lucky = [of(0, 100, 0.1, null), of(1, 130, 0.2, null), of(2, 120, 0.3, null)];

  test('decides by itself: what was lucky once does not win', () => {
    expect(bestOf(lucky, slos)?.record.trial_id).toBe(1);
    const again = [...lucky, of(3, 90, 0.2, 1), of(4, 118, 0.3, 2), of(5, 117, 0.3, 2), of(6, 60, 0.3, 2)];
    expect(bestOf(again, slos)).toMatchObject({
      record: { trial_id: 2 },
      performance: { generate_speed: 117 },
    });
  });

  test('does not decide before all that promised as much have had their turn', () => {
    const early = [...lucky, of(3, 100, 0.1, 0), of(4, 118, 0.3, 2)];
    expect(bestOf(early, slos)?.record.trial_id).toBe(1);
    expect(bestOf([...lucky, of(3, 100, 0.1, 0)], slos)?.record.trial_id).toBe(1);
    expect(bestOf([...early, of(5, 119, 0.2, 1)], slos)?.record.trial_id).toBe(1);
    expect(bestOf([...early, of(5, 90, 0.2, 1)], slos)?.record.trial_id).toBe(2);
  });

  test('what can no longer be served is not recommended, however fast it was', () => {
    const error = { class: '', message: '', remedy: '', blame: 'params', details: {} } as const;
    const refuted = { ...of(3, 0, 0.2, 1), verdict: { kind: 'infeasible', error } as const };
    expect(bestOf([...lucky, refuted, of(4, 110, 0.3, 2)], slos)?.record.trial_id).toBe(2);
  });

  test('goes on with the next ones where no finalist holds its SLOs', () => {
    const options = { runs: 1, finalists: 1, slos };
    const told = [...lucky, of(3, 100, 0.1, 0, 2)];
    expect(confirmations(told, options).map(({ confirms }) => confirms as number)).toEqual([1]);
    const missed = [...told, of(4, 130, 0.2, 1, 2)];
    expect(confirmations(missed, options).map(({ confirms }) => confirms as number)).toEqual([2]);
    // In the middle of a wave the rest of it is left, whatever the first of it says.
    const thrice = { ...options, runs: 2 };
    const half = [...missed, of(5, 100, 0.1, 0, 2), of(6, 130, 0.2, 1, 2), of(7, 120, 0.3, 2)];
    expect(confirmations(half, thrice).map(({ confirms }) => confirms as number)).toEqual([2]);
    const held = [...told, of(4, 100, 0.2, 1)];
    expect(confirmations(held, options)).toEqual([]);
  });

  test('marks what was measured on another workload, and answers that have changed', () => {
    const mark = (record: TrialRecord, more: object): TrialRecord => ({
      ...record,
      verdict: { ...record.verdict, ...more },
    });
    const usual = { output_tokens: 128, length_share: 1, prefix_cache_hit_ratio: 0 };
    const odd = { output_tokens: 90, length_share: 0.4, prefix_cache_hit_ratio: 0.5 };
    const said = (...answers: string[]): object => ({ canary: answers });
    const told = [
      ...lucky.map((record) => mark(record, { traits: record.trial_id === 2 ? odd : usual })),
      mark(of(3, 100, 0.1, 0), said('Paris', '4', 'cold')),
      mark(of(4, 100, 0.1, 0), said('Paris', '4', 'cold')),
      mark(of(5, 120, 0.3, 2), said('Paris', '5', 'blue')),
    ];
    const [present, , strange] = candidates(told, slos);
    expect(unlikeSiblings(present!, told)).toEqual([]);
    expect(unlikeSiblings(strange!, told)).toEqual([
      'answers have 90 tokens, usual are 128: another workload',
      '40 % of the answers end at their limit, usual are 100 %',
      'prefix cache hits of 50 %, usual are 0 %',
    ]);
    const renewed = told.map((record) =>
      mark(record, { engine_version: record.trial_id === 2 ? '0.12' : '0.11' }),
    );
    expect(unlikeSiblings(candidates(renewed, slos)[2]!, renewed)[0]).toBe(
      'measured with version 0.12 of the engine, others with 0.11: they do not compare',
    );
    const canary = canaryOf(strange!, present!);
    expect(canary).toEqual({ prompts: 3, agreement: expect.closeTo(1 / 3, 6) as number, usual: 1 });
    expect(canaryFlags(canary!)[0]).toContain('agree with the present configuration');
    expect(canaryFlags({ prompts: 20, agreement: 0.9, usual: 0.95 })).toEqual([]);
  });

  test('percentiles of few requests are told beforehand', () => {
    expect(requestsNeeded('p99')).toBe(1000);
    expect(requestsNeeded('mean')).toBe(0);
    expect(tooFew([{ of: 'time_to_first_token', statistic: 'p99' }], 200)[0]).toContain('fewer than 1000');
    expect(tooFew([{ of: 'time_to_first_token', statistic: 'p95' }], 200)).toEqual([]);
  });

  test('says how far the answer can be believed, and who was demoted', () => {
    const again = [89, 91, 90].map((speed, i) => of(3 + i, speed, 0.1, 0));
    const first = [101, 99, 100].map((speed, i) => of(6 + i, speed, 0.2, 1));
    const second = [118, 120, 122].map((speed, i) => of(9 + i, speed, 0.3, 2));
    const trust = trustOf([...lucky, ...again, ...first, ...second], slos);
    expect(trust).toMatchObject({ runs: 3, runner_up: 1, demoted: 1 });
    expect(trust?.noise).toBeCloseTo(0.0126, 3);
    // 120 · e^(± 2.447 · sd · √(2/3)), 6 degrees of freedom.
    expect(trust?.interval.low).toBeCloseTo(
      119.99 * Math.exp(-2.447 * (trust?.noise ?? 0) * Math.sqrt(2 / 3)),
      1,
    );
    expect(trust?.beats_baseline).toBeGreaterThan(0.999);
    expect(trustOf(lucky, slos)).toBeUndefined();
  });
});
