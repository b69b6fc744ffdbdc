import { request } from 'undici';

/** What the engine itself counted during a measurement, from its `/metrics`; absent where it has none. */
export interface ServerMetrics {
  readonly preemptions?: number;
  readonly prompt_tokens?: number;
  readonly generation_tokens?: number;
  readonly prefix_cache_hit_ratio?: number;
}

/** Sums over all label sets (one a data-parallel replica), by name. */
type Sample = ReadonlyMap<string, number>;

const patience = 1000;

/** The exposition format of Prometheus, as far as counters and gauges need it. */
export function parseMetrics(text: string): Sample {
  const sums = new Map<string, number>();
  for (const line of text.split('\n')) {
    const match = /^([A-Za-z_:][\w:]*)(?:\{.*\})?\s+(\S+)/.exec(line);
    const [, name, value] = match ?? [];
    if (name === undefined || !Number.isFinite(Number(value))) continue;
    sums.set(name, (sums.get(name) ?? 0) + Number(value));
  }
  return sums;
}

/** undefined where the server has no metrics. */
export async function readMetrics(baseUrl: string, signal: AbortSignal): Promise<Sample | undefined> {
  try {
    const url = `${baseUrl.replace(/\/(v1\/?)?$/, '')}/metrics`;
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(patience)]);
    const { statusCode, body } = await request(url, { signal: bounded });
    const text = await body.text();
    return statusCode === 200 ? parseMetrics(text) : undefined;
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** Paths by which engines empty their prefix caches; what they do not have they refuse. */
const resets = ['/reset_prefix_cache', '/flush_cache'];

/** So that no measurement finds the prompts of an earlier one in a cache. */
export async function resetCaches(baseUrl: string, signal: AbortSignal): Promise<void> {
  const origin = baseUrl.replace(/\/(v1\/?)?$/, '');
  for (const path of resets) {
    try {
      const bounded = AbortSignal.any([signal, AbortSignal.timeout(patience)]);
      const { body } = await request(`${origin}${path}`, { method: 'POST', signal: bounded });
      await body.dump();
    } catch {
      signal.throwIfAborted();
    }
  }
}

/** What happened in between. */
export function metricsBetween(before: Sample | undefined, after: Sample | undefined): ServerMetrics {
  if (before === undefined || after === undefined) return {};
  const delta = (...names: string[]): number | undefined => {
    const name = names.find((one) => after.has(one));
    return name === undefined ? undefined : (after.get(name) ?? 0) - (before.get(name) ?? 0);
  };
  const queries = delta('vllm:prefix_cache_queries_total', 'vllm:gpu_prefix_cache_queries_total');
  const hits = delta('vllm:prefix_cache_hits_total', 'vllm:gpu_prefix_cache_hits_total');
  const found = {
    preemptions: delta('vllm:num_preemptions_total', 'sglang:num_retracted_reqs_total'),
    prompt_tokens: delta('vllm:prompt_tokens_total', 'sglang:prompt_tokens_total'),
    generation_tokens: delta('vllm:generation_tokens_total', 'sglang:generation_tokens_total'),
    prefix_cache_hit_ratio:
      queries === undefined || hits === undefined || queries === 0 ? undefined : hits / queries,
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}
