import type { Judged, Percentiles, PerformanceIndex } from './fitness.ts';
import { percentilesOnDemand } from './percentiles.ts';
import type { SloStatistic } from './slo.ts';

/** What has been seen of a benchmark that still runs. */
export interface Observed {
  readonly elapsedS: number;
  /** In all, those that are not sent yet included. */
  readonly requests: number;
  /** That all requests together can produce. */
  readonly maxOutputTokens: number;
  /** Of first tokens; of requests that wait for theirs, how long they wait. */
  readonly ttftsMs: readonly number[];
  /** Of requests that are complete. */
  readonly tpotsMs: readonly number[];
  readonly tokens: number;
  readonly failed: number;
}

/** Without what only judging needs. */
export const performanceOf = (judged: Judged): PerformanceIndex => ({
  generate_speed: judged.generate_speed,
  time_to_first_token: judged.time_to_first_token,
  time_per_output_token: judged.time_per_output_token,
  success_rate: judged.success_rate,
  throughput: judged.throughput,
});

/** Which statistic of a latency is scored. */
export interface Scored {
  readonly time_to_first_token: SloStatistic;
  readonly time_per_output_token: SloStatistic;
}

const nothing: Percentiles = { mean: 0, median: 0, p90: 0, p95: 0, p99: 0 };

const zeros = (like: Percentiles): Percentiles => ({
  ...nothing,
  ...Object.fromEntries(Object.keys(like).map((name) => [name, 0])),
});

function judged(
  { elapsedS, requests, failed }: Observed,
  scored: Scored,
  { tokens, ttft, tpot }: { readonly tokens: number; readonly ttft: Percentiles; readonly tpot: Percentiles },
): Judged {
  const throughput = (requests - failed) / elapsedS;
  return {
    generate_speed: tokens / elapsedS,
    time_to_first_token: (ttft[scored.time_to_first_token] ?? 0) / 1000,
    time_per_output_token: (tpot[scored.time_per_output_token] ?? 0) / 1000,
    success_rate: 1 - failed / requests,
    throughput,
    goodput: throughput,
    // Of these nothing is known before the end.
    percentiles: { ttft_ms: ttft, tpot_ms: tpot, itl_ms: zeros(ttft), e2el_ms: zeros(ttft) },
  };
}

/**
 * What the benchmark can come to at best: as if all that is missing came now, in no time. Latencies grow with every
 * value of theirs, so what is unknown counts as 0.
 */
export function bounds(observed: Observed, scored: Scored, more: readonly SloStatistic[] = []): Judged {
  const { requests, ttftsMs, tpotsMs, maxOutputTokens } = observed;
  const padded = (values: readonly number[]): number[] => [
    ...values,
    ...Array.from({ length: Math.max(0, requests - values.length) }, () => 0),
  ];
  return judged(observed, scored, {
    tokens: maxOutputTokens,
    ttft: percentilesOnDemand(padded(ttftsMs), more),
    tpot: percentilesOnDemand(padded(tpotsMs), more),
  });
}

/** What it would come to if it went on as it has begun. */
export function running(observed: Observed, scored: Scored, more: readonly SloStatistic[] = []): Judged {
  const { tokens, ttftsMs, tpotsMs } = observed;
  return judged(observed, scored, {
    tokens,
    ttft: percentilesOnDemand(ttftsMs, more),
    tpot: percentilesOnDemand(tpotsMs, more),
  });
}
