import type { z } from 'zod';
import { oneOf } from '../config/schema-types.ts';
import type { Percentiles } from '../core/fitness/fitness.ts';
import type { LatencyName } from '../parallel/ports.ts';

/** Which statistic of a latency is scored; the original takes the mean. */
const statistic = (of: string): z.ZodType<Statistic> =>
  oneOf('mean', 'median', 'p90', 'p95', 'p99').default('mean').describe(`statistic of ${of} that is scored`);
export const scoredKeys = {
  time_to_first_token: statistic('TTFT'),
  time_per_output_token: statistic('TPOT'),
};
export type Statistic = 'mean' | 'median' | 'p90' | 'p95' | 'p99';

export interface ScoredBy {
  readonly time_to_first_token: Statistic;
  readonly time_per_output_token: Statistic;
}

/** Latencies as load tools report them: not every tool has every statistic. */
export type Reported = Partial<Record<LatencyName, Partial<Percentiles>>>;

const names: readonly (keyof Percentiles)[] = ['mean', 'median', 'p90', 'p95', 'p99'];

const finite = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined;

/** `mean_ttft_ms`, `p99_tpot_ms`, …: the names that vLLM gave to them. `aliases` are other names of a latency. */
export function reportedFlat(
  document: Readonly<Record<string, unknown>>,
  aliases: Partial<Record<LatencyName, string>> = {},
): Reported {
  const of = (latency: LatencyName): Partial<Percentiles> =>
    Object.fromEntries(
      names.flatMap((name) => {
        const value = finite(document[`${name}_${aliases[latency] ?? latency}`]);
        return value === undefined ? [] : [[name, value]];
      }),
    );
  const all = (['ttft_ms', 'tpot_ms', 'itl_ms', 'e2el_ms'] as const).map(
    (latency) => [latency, of(latency)] as const,
  );
  return Object.fromEntries(all.filter(([, one]) => Object.keys(one).length > 0));
}

/** Seconds; null where the tool did not report it. */
export function scoredLatency(reported: Reported, latency: LatencyName, which: Statistic): number | null {
  const value = reported[latency]?.[which];
  return value === undefined ? null : value / 1000;
}
