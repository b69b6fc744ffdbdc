import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { simulateLoad, type SimulatedOutcome } from '../../src/core/serving/cluster.ts';
import { cannotServe, planMemory, stepTimes, type ServingSettings } from '../../src/core/serving/hardware.ts';
import { loadOf, settingsOf } from '../../src/core/serving/params.ts';
import { presetNames, presets } from '../../src/core/serving/presets.ts';
import { Replica } from '../../src/core/serving/replica.ts';

const { deployment, defaults } = presets['large-16'];
const wide: ServingSettings = {
  ...defaults,
  tensor_parallel_size: 8,
  data_parallel_size: 2,
  gpu_memory_utilization: 0.95,
};
/** Few sequences at the same time: soon saturated. */
const narrow: ServingSettings = { ...wide, max_num_seqs: 32 };
/** A cache so small that few requests fit. */
const tight: ServingSettings = { ...wide, gpu_memory_utilization: 0.89, max_model_len: 2048 };

const mean = (values: readonly number[]): number => values.reduce((sum, one) => sum + one, 0) / values.length;
const ttft = ({ requests }: SimulatedOutcome): number => mean(requests.map(({ ttftMs }) => ttftMs));
const tpot = ({ requests }: SimulatedOutcome): number =>
  mean(requests.map(({ e2elMs, ttftMs, outputTokens }) => (e2elMs - ttftMs) / (outputTokens - 1)));
const speed = ({ requests, durationMs }: SimulatedOutcome): number =>
  (1000 * requests.reduce((sum, { outputTokens }) => sum + outputTokens, 0)) / durationMs;

function closed(concurrency: number, settings = wide): SimulatedOutcome {
  const requests = Array.from({ length: 6 * concurrency }, () => ({ promptTokens: 512, outputTokens: 128 }));
  return simulateLoad(deployment, settings, { requests, maxConcurrency: concurrency, dueMs: [] });
}

function open(perSecond: number, count = 1500): SimulatedOutcome {
  const rng = createRng(3).fork('arrivals');
  let at = 0;
  const dueMs = Array.from({ length: count }, () => (at += (-Math.log(1 - rng.next()) / perSecond) * 1000));
  const requests = dueMs.map(() => ({ promptTokens: 512, outputTokens: 128 }));
  return simulateLoad(deployment, narrow, { requests, maxConcurrency: count, dueMs });
}

describe('the model of a serving engine', () => {
  test('throughput grows with concurrency, ever more slowly, and saturates', () => {
    const speeds = [1, 4, 16, 64, 256].map((concurrency) => speed(closed(concurrency, narrow)));
    const gains = speeds.slice(1).map((one, i) => one / speeds[i]!);
    expect(Math.min(...gains)).toBeGreaterThan(1);
    for (let i = 1; i < gains.length; i++) expect(gains[i]).toBeLessThan(gains[i - 1]!);
    expect(gains[0]).toBeGreaterThan(2.5);
    expect(gains.at(-1)).toBeLessThan(1.3);
  });

  test('TPOT grows with the batch', () => {
    const tpots = [1, 8, 32, 128].map((concurrency) => tpot(closed(concurrency)));
    for (let i = 1; i < tpots.length; i++) expect(tpots[i]).toBeGreaterThan(tpots[i - 1]!);
  });

  test('TTFT explodes past saturation', () => {
    const most = closed(256, narrow);
    const saturation = (most.requests.length / most.durationMs) * 1000;
    const [calm, past] = [ttft(open(saturation * 0.5)), ttft(open(saturation * 1.5))];
    expect(past).toBeGreaterThan(20 * calm);
  });

  test('preemptions appear when the cache is full, and cost throughput', () => {
    expect(closed(64).preemptions).toBe(0);
    const full = closed(256, tight);
    expect(full.preemptions).toBeGreaterThan(0);
    expect(speed(full)).toBeLessThan(speed(closed(256)));
  });

  test("Little's law: requests in the system are their rate times their time in it", () => {
    const { requests, durationMs } = open(4);
    const inSystem = requests.reduce((sum, { sentMs, endMs }) => sum + endMs - sentMs, 0) / durationMs;
    let [area, now, last] = [0, 0, 0];
    const events = requests
      .flatMap(({ sentMs, endMs }) => [[sentMs, 1] as const, [endMs, -1] as const])
      .sort(([a], [b]) => a - b);
    for (const [at, change] of events) {
      area += now * (at - last);
      now += change;
      last = at;
    }
    expect(area / durationMs).toBeCloseTo(inSystem, 6);
    const rate = requests.length / durationMs;
    expect(rate * mean(requests.map(({ sentMs, endMs }) => endMs - sentMs))).toBeCloseTo(
      area / durationMs,
      6,
    );
  });

  test('small chunks of prompts delay the first token', () => {
    const chunk = (tokens: number) => ttft(closed(64, { ...wide, max_num_batched_tokens: tokens }));
    expect(chunk(256)).toBeGreaterThan(chunk(2048));
  });

  test('tensor parallelism over machines pays for the network in every step', () => {
    const load = { tokens: 32, sequences: 32, contextTokens: 32 * 512 };
    const near = stepTimes(deployment, { ...wide, tensor_parallel_size: 8 })(load);
    const far = stepTimes(deployment, { ...wide, tensor_parallel_size: 16 })(load);
    expect(far).toBeGreaterThan(near);
  });
});

describe('what does not fit', () => {
  const message = (settings: Partial<ServingSettings>): string => {
    const plan = planMemory(deployment, { ...wide, ...settings });
    return cannotServe(plan) ? plan.message : 'it fits';
  };

  test('is told with the arithmetic', () => {
    expect(message({})).toBe('it fits');
    expect(message({ gpu_memory_utilization: 0.885 })).toMatch(
      /max seq len \(32768\), \(0\.73 GiB KV cache is needed, .*available KV cache memory \(0\.\d\d GiB\)/,
    );
    expect(message({ tensor_parallel_size: 4 })).toMatch(
      /CUDA out of memory\. Tried to allocate 109\.43 GiB of weights/,
    );
    expect(message({ data_parallel_size: 3 })).toMatch(/World size \(24\) is larger than .* \(16\)/);
    expect(message({ enable_chunked_prefill: false })).toMatch(/chunked prefill is off/);
  });

  test.each(presetNames)('the defaults of %s start', (name) => {
    const preset = presets[name];
    expect(planMemory(preset.deployment, preset.defaults)).toMatchObject({
      blocks: expect.any(Number) as number,
    });
  });
});

describe('a replica', () => {
  test('keeps its promises for any requests: all end, every token comes, the cache is empty afterwards', () => {
    const request = fc.record({
      promptTokens: fc.integer({ min: 1, max: 1500 }),
      outputTokens: fc.integer({ min: 1, max: 300 }),
    });
    const property = fc.property(
      fc.array(request, { minLength: 1, maxLength: 60 }),
      fc.boolean(),
      (requests, chunked) => {
        const replica = new Replica(deployment, {
          ...tight,
          enable_chunked_prefill: chunked,
          max_num_batched_tokens: 2048,
          max_num_seqs: 48,
        });
        requests.forEach((one, id) => replica.add({ id, ...one }));
        const tokens = requests.map(() => 0);
        for (let step = replica.step(), steps = 0; step !== undefined; step = replica.step()) {
          expect(step.durationMs).toBeGreaterThan(0);
          for (const id of step.tokens) tokens[id]!++;
          expect(++steps).toBeLessThan(200_000);
        }
        expect(tokens).toEqual(requests.map(({ outputTokens }) => outputTokens));
        expect(replica.cacheUsage).toBe(0);
        expect(replica.running + replica.waiting).toBe(0);
      },
    );
    fc.assert(property, { numRuns: 40 });
  });

  test('steps that are only counted are the steps that are taken one by one', () => {
    const request = fc.record({
      promptTokens: fc.integer({ min: 1, max: 1500 }),
      outputTokens: fc.integer({ min: 1, max: 300 }),
      /** Steps after which it comes. */
      at: fc.integer({ min: 0, max: 100 }),
      /** Steps after it came after which its client goes away. */
      patience: fc.option(fc.integer({ min: 0, max: 300 })),
    });
    interface Timed {
      readonly promptTokens: number;
      readonly outputTokens: number;
      readonly at: number;
      readonly patience: number | null;
    }
    const comingAt = (now: number, all: readonly Timed[]) =>
      all.map((one, id) => ({ ...one, id })).filter(({ at }) => at === now);
    const goingAt = (now: number, all: readonly Timed[]) =>
      [...all.keys()].filter((id) => all[id]!.patience !== null && all[id]!.at + all[id]!.patience === now);
    let preemptions = 0;
    const property = fc.property(
      fc.array(request, { minLength: 1, maxLength: 90, size: 'max' }),
      fc.boolean(),
      fc.integer({ min: 1, max: 90 }),
      fc.integer({ min: 8, max: 2100 }),
      (requests, chunked, max_num_seqs, budget) => {
        const settings = {
          ...{ ...tight, max_num_seqs, enable_chunked_prefill: chunked, gpu_memory_utilization: 0.8885 },
          max_num_batched_tokens: chunked ? budget : 2048,
        };
        const [glides, walks] = [new Replica(deployment, settings), new Replica(deployment, settings)];
        for (let now = 0; now < 1000; now++) {
          const [come, go] = [comingAt(now, requests), goingAt(now, requests)];
          for (const replica of [glides, walks]) {
            come.forEach((one) => replica.add(one));
            go.forEach((id) => replica.remove(id));
          }
          // To say how full the cache is, it has to apply what it counted.
          expect(walks.cacheUsage).toBeGreaterThanOrEqual(0);
          expect(glides.step()).toEqual(walks.step());
        }
        expect(glides.counters).toEqual(walks.counters);
        expect(glides.cacheUsage).toBe(walks.cacheUsage);
        preemptions += glides.counters.preemptions;
      },
    );
    fc.assert(property, { numRuns: 30 });
    // Whatever was drawn: a cache that is too small for all of these.
    const many = Array.from({ length: 90 }, () => ({
      ...{ promptTokens: 400, outputTokens: 400, at: 0, patience: null },
    }));
    fc.assert(property, { examples: [[many, true, 90, 2100]], numRuns: 1 });
    expect(preemptions).toBeGreaterThan(0);
  });

  test('a request that is given up leaves nothing behind', () => {
    const replica = new Replica(deployment, wide);
    replica.add({ id: 1, promptTokens: 100, outputTokens: 50 });
    replica.step();
    replica.remove(1);
    expect([replica.cacheUsage, replica.running, replica.step()]).toEqual([0, 0, undefined]);
  });
});

describe('parameters', () => {
  test('mean the same under the names of several engines', () => {
    const preset = presets['large-16'];
    expect(settingsOf(preset, { MAX_NUM_SEQS: 31.6, 'tensor-parallel-size': 8 })).toMatchObject({
      max_num_seqs: 32,
      tensor_parallel_size: 8,
      data_parallel_size: 2,
    });
    expect(settingsOf(preset, { maxBatchSize: 12, mem_fraction_static: 0.8 })).toMatchObject({
      max_num_seqs: 12,
      gpu_memory_utilization: 0.8,
      data_parallel_size: 1,
    });
    expect(loadOf({ MAXCONCURRENCY: 9, REQUESTRATE: 2.5 })).toEqual({ concurrency: 9, requestRate: 2.5 });
  });
});
