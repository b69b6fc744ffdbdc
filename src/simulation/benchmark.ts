import { createRng } from '../base/rng.ts';
import { ms } from '../base/units.ts';
import { bounds, performanceOf, running, type Observed } from '../core/fitness/bounds.ts';
import type { Judged, Percentiles } from '../core/fitness/fitness.ts';
import { distribution, percentilesOf } from '../core/fitness/percentiles.ts';
import { arrivals } from '../core/load/arrivals.ts';
import { normal } from '../core/pso/draws.ts';
import { simulateLoad, type SimulatedOutcome } from '../core/serving/cluster.ts';
import { loadOf, settingsOf } from '../core/serving/params.ts';
import type { Preset } from '../core/serving/presets.ts';
import type { Benchmark, BenchmarkContext, BenchmarkResult } from '../parallel/ports.ts';

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

interface Size {
  readonly promptTokens: number;
  readonly outputTokens: number;
}

const average = (length: SimulatedLoad['input_len']): number =>
  Math.max(1, Math.round(typeof length === 'number' ? length : length.mean));

interface Early {
  readonly observed: Observed;
  readonly best: Judged;
}

/** As the load generator looks at it twice a second. */
const looks = 50;

/** When a benchmark is seen to be hopeless: it stays so, so that the first moment of it can be bisected. */
function endedEarly(
  outcome: SimulatedOutcome,
  about: { readonly config: SimulatedLoad; readonly speed: number; readonly size: Size },
  { isHopeless, percentiles }: BenchmarkContext,
): Early | undefined {
  const at = (look: number): Early => {
    const observed = observedAt(outcome, (outcome.durationMs * look) / looks, about);
    return { observed, best: bounds(observed, about.config, percentiles) };
  };
  let [low, high] = [0, looks - 1];
  if (isHopeless?.(at(high).best) !== true) return undefined;
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (isHopeless(at(middle).best)) high = middle;
    else low = middle;
  }
  return at(high);
}

function observedAt(
  { requests }: SimulatedOutcome,
  now: number,
  { speed, size }: { readonly speed: number; readonly size: Size },
): Observed {
  const [ttftsMs, tpotsMs]: [number[], number[]] = [[], []];
  for (const request of requests) {
    const due = request.endMs - request.e2elMs;
    if (due <= now) ttftsMs.push(Math.min(request.ttftMs, now - due) / speed);
    if (request.endMs <= now) tpotsMs.push(tpotOf(request) / speed);
  }
  return {
    elapsedS: now / speed / 1000,
    requests: requests.length,
    maxOutputTokens: requests.length * size.outputTokens,
    ttftsMs,
    tpotsMs,
    tokens: tpotsMs.length * size.outputTokens,
    failed: 0,
  };
}

function censoredResult({ observed, best }: Early, config: SimulatedLoad): BenchmarkResult {
  const { percentiles = {} } = best;
  const performance = performanceOf(best);
  return {
    ...{ performance, percentiles, goodput: null, numPrompts: config.num_prompts },
    raw: [],
    flags: ['simulated', `ended early, after ${observed.elapsedS.toFixed(1)} s: nothing could save it`],
    censored: { running: running(observed, config) },
  };
}

const tpotOf = ({ e2elMs, ttftMs, outputTokens }: SimulatedOutcome['requests'][number]): number =>
  (e2elMs - ttftMs) / Math.max(1, outputTokens - 1);

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
      const early = endedEarly(outcome, { config, speed, size }, context);
      await context.clock.sleep(ms((early?.observed.elapsedS ?? durationS) * 1000), context.signal);
      if (early !== undefined) return censoredResult(early, config);
      const of = (value: (request: (typeof outcome.requests)[number]) => number) =>
        distribution(
          outcome.requests.map((request) => value(request) / speed),
          context.percentiles,
        );
      const ttft = of(({ ttftMs }) => ttftMs);
      const e2el = of(({ e2elMs }) => e2elMs);
      const tpot = of(tpotOf);
      const tokens = outcome.requests.reduce((sum, { outputTokens }) => sum + outputTokens, 0);
      const percentiles: BenchmarkResult['percentiles'] = Object.fromEntries(
        // The gaps within one request are taken as alike.
        Object.entries({ ttft_ms: ttft, tpot_ms: tpot, itl_ms: tpot, e2el_ms: e2el }).flatMap(
          ([name, one]) => (one === undefined ? [] : [[name, percentilesOf(one)]]),
        ),
      );
      const scored = (one: typeof ttft, which: keyof Percentiles): number | null =>
        one === undefined ? null : (percentilesOf(one)[which] ?? 0) / 1000;
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
        raw: [],
        flags: ['simulated'],
      };
    },
    [Symbol.asyncDispose]: async () => Promise.resolve(),
  };
}
