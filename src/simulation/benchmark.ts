import { createRng } from '../base/rng.ts';
import { ms } from '../base/units.ts';
import type { Percentiles } from '../core/fitness/fitness.ts';
import { distribution, percentilesOf } from '../core/fitness/percentiles.ts';
import { arrivals } from '../core/load/arrivals.ts';
import { normal } from '../core/pso/draws.ts';
import { simulateLoad } from '../core/serving/cluster.ts';
import { loadOf, settingsOf } from '../core/serving/params.ts';
import type { Preset } from '../core/serving/presets.ts';
import type { Benchmark, BenchmarkResult } from '../parallel/ports.ts';

export interface SimulatedBenchmarkOptions {
  readonly preset: Preset;
  /** Instead of the table of a load tool that cannot be simulated. */
  readonly load: SimulatedLoad | undefined;
  /** Sigma of a log-normal factor on what is measured. */
  readonly noise: number;
  /** Of a group; 1 is the preset's. */
  readonly speedOf: (group: number) => number;
}

/** What the load generator's table says, as far as it matters here. */
export interface SimulatedLoad {
  readonly num_prompts: number;
  readonly request_rate: number;
  readonly max_concurrency: number;
  readonly input_len: number | { readonly mean: number };
  readonly output_len: number | { readonly mean: number };
  /** Which statistic is scored. */
  readonly time_to_first_token: keyof Percentiles;
  readonly time_per_output_token: keyof Percentiles;
}

const average = (length: SimulatedLoad['input_len']): number =>
  Math.max(1, Math.round(typeof length === 'number' ? length : length.mean));

/** The load generator against the model of the engine, on the study's clock. */
export function simulatedBenchmark(options: SimulatedBenchmarkOptions): Benchmark<SimulatedLoad> {
  const { preset } = options;
  return {
    name: 'simulated',
    async run(given, _target, params, context): Promise<BenchmarkResult> {
      const config = options.load ?? given;
      const rng = createRng(context.seed).fork(`load/${context.trialId}/${context.attempt}`);
      const { concurrency, requestRate } = loadOf(params);
      const rate = requestRate === undefined ? config.request_rate : requestRate > 0 ? requestRate : Infinity;
      const speed = options.speedOf(context.groupId) * Math.exp(options.noise * normal(rng));
      const size = { promptTokens: average(config.input_len), outputTokens: average(config.output_len) };
      const outcome = simulateLoad(preset.deployment, settingsOf(preset, params), {
        requests: Array.from({ length: config.num_prompts }, () => size),
        maxConcurrency: Math.max(1, Math.round(concurrency ?? config.max_concurrency)),
        dueMs: arrivals(config.num_prompts, rate * speed, rng),
      });
      const durationS = outcome.durationMs / speed / 1000;
      await context.clock.sleep(ms(durationS * 1000), context.signal);
      const of = (value: (request: (typeof outcome.requests)[number]) => number) =>
        distribution(outcome.requests.map((request) => value(request) / speed));
      const ttft = of(({ ttftMs }) => ttftMs);
      const e2el = of(({ e2elMs }) => e2elMs);
      const tpot = of(
        ({ e2elMs, ttftMs, outputTokens }) => (e2elMs - ttftMs) / Math.max(1, outputTokens - 1),
      );
      const tokens = outcome.requests.reduce((sum, { outputTokens }) => sum + outputTokens, 0);
      const percentiles: BenchmarkResult['percentiles'] = Object.fromEntries(
        Object.entries({ ttft_ms: ttft, tpot_ms: tpot, e2el_ms: e2el }).flatMap(([name, one]) =>
          one === undefined ? [] : [[name, percentilesOf(one)]],
        ),
      );
      const scored = (one: typeof ttft, which: keyof Percentiles): number | null =>
        one === undefined ? null : percentilesOf(one)[which] / 1000;
      const performance = {
        generate_speed: tokens / durationS,
        time_to_first_token: scored(ttft, config.time_to_first_token),
        time_per_output_token: scored(tpot, config.time_per_output_token),
        success_rate: 1,
        throughput: config.num_prompts / durationS,
      };
      return {
        performance,
        percentiles,
        goodput: null,
        numPrompts: config.num_prompts,
        raw: [
          {
            name: 'benchmark.json',
            content: `${JSON.stringify({ performance, percentiles }, null, 2)}\n`,
          },
        ],
        flags: ['simulated'],
      };
    },
    [Symbol.asyncDispose]: async () => Promise.resolve(),
  };
}
