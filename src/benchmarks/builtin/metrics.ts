import { distribution, percentilesOf, type Distribution } from '../../core/fitness/percentiles.ts';
import type { SloStatistic } from '../../core/fitness/slo.ts';
import type { BenchmarkResult, LatencyName, Traits } from '../../parallel/ports.ts';
import { scoredLatency } from '../statistics.ts';
import type { BuiltinConfig } from './config.ts';
import { keeping, parseGoodput, tpotOf } from './goodput.ts';
import type { LoadJob, LoadResult } from './load.ts';
import type { RequestOutcome } from './request.ts';
import type { ServerMetrics } from './server-metrics.ts';

/** A generator that is later than this measures itself. */
const distortedAboveMs = 20;

type Completed = Extract<RequestOutcome, { ok: true }>;
type Failed = Extract<RequestOutcome, { ok: false }>;

function latencies(
  completed: readonly Completed[],
  more: readonly SloStatistic[],
): Partial<Record<LatencyName, Distribution>> {
  const all: [LatencyName, Distribution | undefined][] = [
    [
      'ttft_ms',
      distribution(
        completed.map(({ ttftMs }) => ttftMs),
        more,
      ),
    ],
    [
      'tpot_ms',
      distribution(
        completed.flatMap((one) => tpotOf(one) ?? []),
        more,
      ),
    ],
    [
      'itl_ms',
      distribution(
        completed.flatMap(({ itlsMs }) => [...itlsMs]),
        more,
      ),
    ],
    [
      'e2el_ms',
      distribution(
        completed.map(({ e2elMs }) => e2elMs),
        more,
      ),
    ],
  ];
  return Object.fromEntries(all.filter(([, summary]) => summary !== undefined));
}

/** Field names of `vllm bench serve --save-result`: `mean_ttft_ms`, `p99_tpot_ms`, … */
function flatNames(summaries: Partial<Record<LatencyName, Distribution>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(summaries).flatMap(([name, summary]) =>
      Object.entries(summary).map(([statistic, value]) => [`${statistic}_${name}`, value as number]),
    ),
  );
}

/** The load of several threads as one. */
export function together(results: readonly LoadResult[]): LoadResult {
  const [first] = results;
  return {
    model: first?.model ?? '',
    outcomes: results.flatMap(({ outcomes }) => outcomes),
    beganMs: Math.min(...results.map(({ beganMs }) => beganMs)),
    endedMs: Math.max(...results.map(({ endedMs }) => endedMs)),
    peakConcurrency: sum(results.map(({ peakConcurrency }) => peakConcurrency)),
    loopDelayP99Ms: Math.max(...results.map(({ loopDelayP99Ms }) => loopDelayP99Ms)),
  };
}

/** What a reader of the numbers must know. */
function flagsOf(
  completed: readonly Completed[],
  { loopDelayP99Ms }: LoadResult,
  { prefix_cache_hit_ratio: hits = 0, preemptions = 0 }: ServerMetrics,
): string[] {
  const late = loopDelayP99Ms > distortedAboveMs;
  return [
    ...(completed.some(({ estimated }) => estimated)
      ? ['tokens counted from events: no usage reported']
      : []),
    ...(hits > 0.05 ? [`prefix cache hits: ${(100 * hits).toFixed(0)} %`] : []),
    ...(preemptions > 0 ? [`preemptions: ${preemptions}`] : []),
    ...(late ? [`distorted: the generator was ${loopDelayP99Ms.toFixed(0)} ms late (p99)`] : []),
  ];
}

/** What must be alike where measurements are compared. */
function traitsOf(completed: readonly Completed[], { prefix_cache_hit_ratio: hits }: ServerMetrics): Traits {
  const ended = completed.filter(({ finish }) => finish !== undefined);
  return {
    output_tokens: sum(completed.map(({ outputTokens }) => outputTokens)) / completed.length,
    ...(ended.length === 0
      ? {}
      : { length_share: ended.filter(({ finish }) => finish === 'length').length / ended.length }),
    ...(hits === undefined ? {} : { prefix_cache_hit_ratio: hits }),
  };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function countFailures(failed: readonly Failed[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { kind } of failed) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

export function summarizeLoad(
  job: LoadJob,
  config: BuiltinConfig,
  load: LoadResult,
  about: {
    readonly date: string;
    readonly server: ServerMetrics;
    readonly threads: number;
    readonly percentiles?: readonly SloStatistic[] | undefined;
  },
): BenchmarkResult {
  const completed = load.outcomes.filter((outcome): outcome is Completed => outcome.ok);
  const failed = load.outcomes.filter((outcome): outcome is Failed => !outcome.ok);
  const duration = (load.endedMs - load.beganMs) / 1000;
  const outputTokens = sum(completed.map((one) => one.outputTokens));
  const inputTokens = sum(completed.map((one) => one.inputTokens));
  const stats = latencies(completed, about.percentiles ?? []);
  const limits = parseGoodput(config.goodput);
  const goodput = Object.keys(limits).length === 0 ? null : keeping(completed, limits) / duration;
  const asked = job.prompts.length * config.turns;
  const percentiles = Object.fromEntries(
    Object.entries(stats).map(([name, one]) => [name, percentilesOf(one)]),
  );
  const document = {
    date: about.date,
    endpoint_type: job.endpoint === 'chat' ? 'openai-chat' : 'openai',
    backend: 'optimizer-builtin',
    model_id: load.model,
    num_prompts: job.prompts.length,
    request_rate: Number.isFinite(config.request_rate) ? config.request_rate : 'inf',
    burstiness: 1,
    max_concurrency: job.maxConcurrency,
    duration,
    completed: completed.length,
    failed: failed.length,
    failures: countFailures(failed),
    total_input_tokens: inputTokens,
    total_output_tokens: outputTokens,
    request_throughput: completed.length / duration,
    request_goodput: goodput,
    output_throughput: outputTokens / duration,
    total_token_throughput: (inputTokens + outputTokens) / duration,
    max_concurrent_requests: load.peakConcurrency,
    ...flatNames(stats),
    generator: { threads: about.threads, event_loop_delay_p99_ms: load.loopDelayP99Ms },
    server_metrics: about.server,
    errors: [...new Set(failed.map(({ message }) => message))].slice(0, 20),
  };
  return {
    performance: {
      generate_speed: document.output_throughput,
      time_to_first_token: scoredLatency(percentiles, 'ttft_ms', config.time_to_first_token),
      time_per_output_token: scoredLatency(percentiles, 'tpot_ms', config.time_per_output_token),
      success_rate: completed.length / asked,
      throughput: document.request_throughput,
    },
    percentiles,
    goodput,
    numPrompts: job.prompts.length,
    raw: [{ name: 'benchmark.json', content: `${JSON.stringify(document, null, 2)}\n` }],
    flags: flagsOf(completed, load, about.server),
    traits: traitsOf(completed, about.server),
  };
}
