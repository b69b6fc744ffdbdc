import { ConfigurationError } from '../../base/errors.ts';
import type { RequestOutcome } from './request.ts';

type Completed = Extract<RequestOutcome, { ok: true }>;

/** Limits of one request, ms. */
export interface RequestLimits {
  readonly ttft?: number;
  readonly tpot?: number;
  readonly e2el?: number;
}

const names = ['ttft', 'tpot', 'e2el'];

/** `ttft:200 tpot:50`, as `vllm bench serve --goodput` takes it. @throws ConfigurationError */
export function parseGoodput(text: string): RequestLimits {
  const pairs = text
    .split(/\s+/)
    .filter((word) => word !== '')
    .map((word) => word.split(':'));
  for (const [name = '', limit = ''] of pairs) {
    if (names.includes(name) && Number(limit) > 0) continue;
    throw new ConfigurationError(
      `builtin.goodput: '${name}:${limit}' is no limit of a request`,
      {},
      { remedy: 'Write it like "ttft:200 tpot:50 e2el:3000", in ms.' },
    );
  }
  const limits: Record<string, number> = {};
  for (const [name = '', limit] of pairs) limits[name] = Number(limit);
  return limits;
}

/** TPOT of a request: the time after its first token, over the tokens after the first. */
export function tpotOf({ e2elMs, ttftMs, outputTokens }: Completed): number | undefined {
  return outputTokens > 1 ? (e2elMs - ttftMs) / (outputTokens - 1) : undefined;
}

/** How many keep all limits. */
export function keeping(completed: readonly Completed[], { ttft, tpot, e2el }: RequestLimits): number {
  return completed.filter(
    (one) =>
      one.ttftMs <= (ttft ?? Infinity) &&
      (tpotOf(one) ?? 0) <= (tpot ?? Infinity) &&
      one.e2elMs <= (e2el ?? Infinity),
  ).length;
}
