import { describe, expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { Condition } from '../../src/base/condition.ts';
import { systemClock } from '../../src/base/clock.ts';
import { createRng } from '../../src/base/rng.ts';
import { ms } from '../../src/base/units.ts';
import type { Suggestion } from '../../src/core/pso/optimizer.ts';
import { PSOOptimizer } from '../../src/core/pso/pso.ts';
import { createSearchSpace } from '../../src/core/space/space.ts';
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

function recordOf({ trialId, params }: Suggestion): TrialRecord {
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
    started_at: '',
    finished_at: '',
    start_s: 0,
    benchmark_s: 0,
    duration_s: 0,
    num_prompts: 1,
  };
}

/** A whole study whose disk and machines take a different time for everything. */
async function journalOf(seed: number): Promise<JournalEntry[]> {
  const rng = createRng(seed).fork('delays');
  const delay = async (): Promise<void> => systemClock.sleep(ms(rng.next() * 3), never);
  const entries: JournalEntry[] = [];
  let flying = 0;
  await tune(
    {
      optimizer: optimizerOf(seed),
      pool: { changed: new Condition() },
      dispatcher: {
        get hasRoom() {
          return flying < groups;
        },
        async evaluate(suggestion, told) {
          flying++;
          await delay();
          const record = recordOf(suggestion);
          await told(record);
          flying--;
          return record;
        },
      },
      store: {
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
      evaluations,
      progress: { told: [], pending: [] },
    },
    never,
  );
  return entries;
}

describe('the journal of a study', () => {
  test.each([1, 2, 3, 4])('can be replayed from every one of its prefixes (seed %i)', async (seed) => {
    const entries = await journalOf(seed);
    expect(entries.filter(({ type }) => type === 'told')).toHaveLength(evaluations);
    for (let length = 0; length <= entries.length; length++) {
      const prefix = entries.slice(0, length);
      const { told, pending } = replay(prefix, optimizerOf(seed));
      const asked = prefix.filter(({ type }) => type === 'asked');
      expect(told.length + pending.length).toBe(asked.length);
    }
  });
});
