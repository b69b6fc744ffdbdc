import { setTimeout as delay } from 'node:timers/promises';
import { setMaxListeners } from 'node:events';
import { Pool } from 'undici';
import type { Prompt } from './prompts.ts';
import { completion, type Endpoint, type RequestOutcome } from './request.ts';

/** One load as the worker gets it. Times are ms. */
export interface LoadJob {
  readonly baseUrl: string;
  readonly endpoint: 'completions' | 'chat';
  readonly model: string | undefined;
  readonly warmups: readonly Prompt[];
  readonly prompts: readonly Prompt[];
  /** Offsets from the start at which the requests are due, ascending; all 0 for an infinite rate. */
  readonly due: readonly number[];
  readonly maxConcurrency: number;
  readonly ignoreEos: boolean;
  readonly timeoutMs: number;
}

export interface LoadResult {
  readonly model: string;
  /** One a prompt, in order. */
  readonly outcomes: readonly RequestOutcome[];
  readonly durationMs: number;
  readonly peakConcurrency: number;
}

/** What stands in the way of any request at all. */
export class UnusableTarget extends Error {
  readonly status: number | undefined;
  readonly code: string | undefined;

  constructor(message: string, options: { status?: number | undefined; code?: string | undefined }) {
    super(message);
    this.status = options.status;
    this.code = options.code;
  }
}

async function firstModel(pool: Pool, basePath: string, signal: AbortSignal): Promise<string> {
  const path = `${basePath}/v1/models`;
  try {
    const { statusCode, body } = await pool.request({ path, method: 'GET', signal });
    const text = await body.text();
    if (statusCode !== 200)
      throw new UnusableTarget(`${path} answered ${statusCode}`, { status: statusCode });
    const id = (JSON.parse(text) as { data?: { id?: unknown }[] }).data?.[0]?.id;
    if (typeof id !== 'string') throw new UnusableTarget(`${path} lists no model`, {});
    return id;
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof UnusableTarget) throw error;
    throw new UnusableTarget((error as Error).message, { code: (error as { code?: string }).code });
  }
}

async function runAll(
  prompts: readonly Prompt[],
  concurrency: number,
  due: readonly number[],
  one: (prompt: Prompt, due: number) => Promise<RequestOutcome>,
  signal: AbortSignal,
): Promise<{ outcomes: RequestOutcome[]; peak: number }> {
  const outcomes = new Array<RequestOutcome>(prompts.length);
  const began = performance.now();
  let next = 0;
  let active = 0;
  let peak = 0;
  const lane = async (): Promise<void> => {
    while (next < prompts.length) {
      const index = next++;
      const dueAt = began + (due[index] ?? 0);
      const wait = dueAt - performance.now();
      if (wait > 0 && !signal.aborted) await delay(wait, undefined, { signal }).catch(() => undefined);
      peak = Math.max(peak, ++active);
      // With an infinite rate a request is due when there is room for it.
      outcomes[index] = await one(
        prompts[index] as Prompt,
        (due[index] ?? 0) > 0 ? dueAt : performance.now(),
      );
      active--;
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, prompts.length) }, lane));
  return { outcomes, peak };
}

/**
 * Warms up, then loads the target. Requests that the time limit or the signal cuts off are outcomes like others.
 * @throws UnusableTarget when there is no model to ask for
 */
export async function generateLoad(job: LoadJob, signal: AbortSignal): Promise<LoadResult> {
  const base = new URL(job.baseUrl);
  const basePath = base.pathname.replace(/\/(v1\/?)?$/, '');
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(new Error('time limit')), job.timeoutMs);
  const both = AbortSignal.any([signal, limit.signal]);
  setMaxListeners(0, both);
  const pool = new Pool(base.origin, {
    connections: job.maxConcurrency,
    pipelining: 1,
    bodyTimeout: 0,
    headersTimeout: 0,
  });
  try {
    const model = job.model ?? (await firstModel(pool, basePath, both));
    const path = `${basePath}/v1/${job.endpoint === 'chat' ? 'chat/completions' : 'completions'}`;
    const endpoint: Endpoint = { pool, path, model, chat: job.endpoint === 'chat', ignoreEos: job.ignoreEos };
    const one = async (prompt: Prompt, due: number): Promise<RequestOutcome> =>
      completion(endpoint, prompt, due, both);
    await runAll(job.warmups, job.maxConcurrency, [], one, both);
    const began = performance.now();
    const { outcomes, peak } = await runAll(job.prompts, job.maxConcurrency, job.due, one, both);
    return { model, outcomes, durationMs: performance.now() - began, peakConcurrency: peak };
  } finally {
    clearTimeout(timer);
    await pool.destroy();
  }
}
