import { setTimeout as delay } from 'node:timers/promises';
import { setMaxListeners } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Pool } from 'undici';
import { Ledger, type Seen } from './ledger.ts';
import type { Prompt } from './prompts.ts';
import { completion, type Endpoint, type RequestOutcome } from './request.ts';

/** The load of one thread. Times are ms. */
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
  /** Without a word of the server for so long, although it was asked, the load is given up. */
  readonly stallMs: number;
  /** How often to say what was seen so far; undefined: never. */
  readonly progressMs?: number | undefined;
}

export interface LoadResult {
  readonly model: string;
  /** One a request, in the order of the prompts and their turns. */
  readonly outcomes: readonly RequestOutcome[];
  /** In ms since 1970, to the fraction: threads have the same. */
  readonly beganMs: number;
  readonly endedMs: number;
  readonly peakConcurrency: number;
  /** How late this thread's event loop was, at the 99th percentile: what it measured may be as wrong. */
  readonly loopDelayP99Ms: number;
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

/** The first that the server lists. @throws UnusableTarget */
export async function firstModel(pool: Pool, basePath: string, signal: AbortSignal): Promise<string> {
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

/** All that the load will need: setting connections up is not the engine's latency. */
async function openConnections(pool: Pool, path: string, count: number, signal: AbortSignal): Promise<void> {
  const one = async (): Promise<void> => {
    const { body } = await pool.request({ path, method: 'GET', signal });
    await body.dump();
  };
  await Promise.allSettled(Array.from({ length: count }, one)); // what fails here fails again, and is told then
}

async function runAll(
  prompts: readonly Prompt[],
  concurrency: number,
  due: readonly number[],
  one: (prompt: Prompt, due: number) => Promise<RequestOutcome[]>,
  { signal, began }: { readonly signal: AbortSignal; readonly began: number },
): Promise<{ outcomes: RequestOutcome[]; peak: number }> {
  const outcomes = new Array<RequestOutcome[]>(prompts.length);
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
  return { outcomes: outcomes.flat(), peak };
}

/** Turn by turn: a turn whose predecessor failed is not asked, and counts as failed. */
async function converse(
  endpoint: Endpoint,
  { text, maxTokens, more }: Prompt,
  due: number,
  ledger: Ledger,
  signal: AbortSignal,
): Promise<RequestOutcome[]> {
  const outcomes: RequestOutcome[] = [];
  const said = [text];
  for (const next of [...more, undefined]) {
    const dueAt = outcomes.length === 0 ? due : performance.now();
    const flight = ledger.begin(dueAt);
    const onFirst = (now: number): void => flight.first(now);
    const { outcome, text: answer } = await completion(endpoint, { said, maxTokens, onFirst }, dueAt, signal);
    flight.end(outcome);
    outcomes.push(outcome);
    if (!outcome.ok) break;
    if (next !== undefined) said.push(answer, next);
  }
  const last = outcomes.at(-1);
  while (last?.ok === false && outcomes.length <= more.length) outcomes.push(last);
  return outcomes;
}

/** Ends the load of a server that owes answers and says nothing. */
class StallWatch implements Disposable {
  readonly #limit: AbortController;
  readonly #timer: NodeJS.Timeout;
  #owed = 0;
  #heard = performance.now();

  constructor(stallMs: number, limit: AbortController) {
    this.#limit = limit;
    this.#timer = setInterval(() => this.#look(stallMs), Math.min(1000, stallMs / 4));
    this.#timer.unref();
  }

  readonly heard = (now: number): void => {
    this.#heard = now;
  };

  /** While this goes on, an answer is owed. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    if (this.#owed++ === 0) this.#heard = performance.now();
    try {
      return await work();
    } finally {
      this.#owed--;
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(stallMs: number): void {
    if (this.#owed === 0 || performance.now() - this.#heard < stallMs) return;
    this.#limit.abort(new Error(`the service said nothing for ${stallMs / 1000} s (stall_timeout)`));
  }
}

const sampleMs = 5;

/** On the time line that all threads share. */
const sharedNow = (): number => performance.timeOrigin + performance.now();

/** What a load says while it goes on. */
export interface Reports {
  /** Warmed up; gives the moment to begin. */
  readonly ready: () => Promise<number>;
  readonly progress: (seen: Seen) => void;
}

/**
 * Warms up, waits for the others (`ready` gives the moment to begin), then loads the target. Requests that the time
 * limit or the signal cuts off are outcomes like others.
 * @throws UnusableTarget when there is no model to ask for
 */
export async function generateLoad(
  job: LoadJob,
  { ready, progress }: Reports,
  signal: AbortSignal,
): Promise<LoadResult> {
  const base = new URL(job.baseUrl);
  const basePath = base.pathname.replace(/\/(v1\/?)?$/, '');
  const limit = new AbortController();
  const timer = setTimeout(
    () => limit.abort(new Error('the time limit')),
    Math.min(job.timeoutMs, 2 ** 31 - 1),
  );
  const both = AbortSignal.any([signal, limit.signal]);
  setMaxListeners(0, both);
  using watch = new StallWatch(job.stallMs, limit);
  const { heard } = watch;
  const pool = new Pool(base.origin, {
    connections: job.maxConcurrency,
    pipelining: 1,
    bodyTimeout: 0,
    headersTimeout: 0,
  });
  let ticking: NodeJS.Timeout | undefined;
  try {
    const model = job.model ?? (await watch.during(async () => firstModel(pool, basePath, both)));
    const path = `${basePath}/v1/${job.endpoint === 'chat' ? 'chat/completions' : 'completions'}`;
    const chat = job.endpoint === 'chat';
    let ledger = new Ledger();
    const endpoint: Endpoint = { pool, path, model, chat, ignoreEos: job.ignoreEos, heard };
    const one = async (prompt: Prompt, due: number): Promise<RequestOutcome[]> =>
      watch.during(async () => converse(endpoint, prompt, due, ledger, both));
    const models = `${basePath}/v1/models`;
    await watch.during(async () => openConnections(pool, models, job.maxConcurrency, both));
    const now = { signal: both, began: performance.now() };
    await runAll(job.warmups, job.maxConcurrency, [], one, now);
    const beganMs = Math.max(await ready(), sharedNow());
    await delay(beganMs - sharedNow(), undefined, { signal: both }).catch(() => undefined);
    const lateness = monitorEventLoopDelay({ resolution: sampleMs });
    lateness.enable();
    const began = beganMs - performance.timeOrigin;
    ledger = new Ledger();
    ticking = setInterval(() => progress(ledger.seen(performance.now())), job.progressMs ?? 2 ** 31 - 1);
    const { outcomes, peak } = await runAll(job.prompts, job.maxConcurrency, job.due, one, {
      signal: both,
      began,
    });
    lateness.disable();
    return {
      model,
      outcomes,
      beganMs,
      endedMs: sharedNow(),
      peakConcurrency: peak,
      loopDelayP99Ms: Math.max(0, lateness.percentile(99) / 1e6 - sampleMs),
    };
  } finally {
    clearInterval(ticking);
    clearTimeout(timer);
    const destroyed = pool.destroy();
    // It waits for connections that are being opened: to a machine that is gone, for long.
    if (both.aborted) destroyed.catch(() => undefined);
    else await destroyed;
  }
}
