import { Worker } from 'node:worker_threads';
import { settleAll } from '../../base/cancellation.ts';
import { deferred } from '../../base/condition.ts';
import type { Seen } from './ledger.ts';
import { UnusableTarget, type LoadJob, type LoadResult } from './load.ts';
import type { FromWorker, ToWorker } from './worker.ts';

/** What all threads have seen so far. */
export type OnProgress = (seen: readonly Seen[]) => void;

/** A barrier before the measurement: every thread has warmed up before the first one begins. */
export type BeforeStart = () => Promise<void>;

async function answerOf(worker: Worker, wanted: readonly FromWorker['type'][]): Promise<FromWorker> {
  const answer = deferred<FromWorker>();
  const onMessage = (message: FromWorker): void => {
    if (wanted.includes(message.type)) answer.resolve(message);
  };
  const onError = (error: Error): void => answer.reject(error);
  const onExit = (code: number): void => answer.reject(new Error(`exit code ${code}`));
  worker.on('message', onMessage).on('error', onError).on('exit', onExit);
  try {
    return await answer.promise;
  } finally {
    worker.off('message', onMessage).off('error', onError).off('exit', onExit);
  }
}

/** Puts together what the threads say. */
function follow(workers: readonly Worker[], onProgress: OnProgress): () => void {
  const seen = new Map<Worker, Seen>();
  const listeners = workers.map((worker) => {
    const listener = (message: FromWorker): void => {
      if (message.type !== 'progress') return;
      seen.set(worker, message.seen);
      if (seen.size === workers.length) onProgress([...seen.values()]);
    };
    worker.on('message', listener);
    return () => worker.off('message', listener);
  });
  return () => listeners.forEach((off) => off());
}

/** A thread that was told to stop has this long to answer. */
const graceMs = 2000;

const post = (worker: Worker, message: ToWorker): void => worker.postMessage(message);

/** By itself, if it can: to terminate a thread while others start or end has crashed Node (nodejs/node#56312). */
async function endOf(worker: Worker): Promise<void> {
  const gone = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  post(worker, { type: 'end' });
  const timer = setTimeout(() => void worker.terminate(), graceMs);
  await gone.finally(() => clearTimeout(timer));
}

/** Threads that make load; kept for the next measurement. */
export class LoadThreads implements AsyncDisposable {
  readonly #idle: Worker[] = [];
  readonly #file: string;

  /** What a thread runs: `worker.ts`. */
  constructor(file: string) {
    this.#file = file;
  }

  /**
   * One thread a job; all begin at the same moment.
   * @throws UnusableTarget, Error where a thread failed, the signal's reason
   */
  async run(
    jobs: readonly LoadJob[],
    { beforeStart, onProgress }: { readonly beforeStart: BeforeStart; readonly onProgress: OnProgress },
    signal: AbortSignal,
  ): Promise<LoadResult[]> {
    signal.throwIfAborted();
    const workers = jobs.map(() => this.#idle.pop() ?? new Worker(this.#file));
    let given: NodeJS.Timeout | undefined;
    const terminate = (): void => workers.forEach((worker) => void worker.terminate());
    const abort = (): void => {
      workers.forEach((worker) => post(worker, { type: 'abort' }));
      given = setTimeout(terminate, graceMs);
    };
    signal.addEventListener('abort', abort, { once: true });
    const unfollow = follow(workers, onProgress);
    let answers: FromWorker[];
    try {
      for (const worker of workers) worker.ref();
      answers = await this.#answers(workers, jobs, beforeStart);
    } catch (error) {
      terminate();
      signal.throwIfAborted();
      throw new Error(`a thread of it failed: ${(error as Error).message}`, { cause: error });
    } finally {
      unfollow();
      signal.removeEventListener('abort', abort);
      clearTimeout(given);
    }
    // They answered, whatever it was: they can be used again.
    for (const worker of workers) this.#keep(worker);
    signal.throwIfAborted();
    return answers.map(resultOf);
  }

  /** @throws where a thread ends without an answer */
  async #answers(
    workers: readonly Worker[],
    jobs: readonly LoadJob[],
    beforeStart: BeforeStart,
  ): Promise<FromWorker[]> {
    const warm = workers.map(async (worker) => answerOf(worker, ['ready', 'unusable', 'failed']));
    workers.forEach((worker, index) => post(worker, { type: 'run', job: jobs[index] as LoadJob }));
    const first = await settleAll(warm);
    const ready = workers.filter((_worker, index) => first[index]?.type === 'ready');
    const usable = ready.length === workers.length;
    if (usable) await beforeStart();
    const last = ready.map(async (worker) => answerOf(worker, ['done', 'unusable', 'failed']));
    const atMs = performance.timeOrigin + performance.now() + 5;
    for (const worker of ready) post(worker, usable ? { type: 'begin', atMs } : { type: 'abort' });
    return [...first.filter(({ type }) => type !== 'ready'), ...(await settleAll(last))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#idle.splice(0).map(endOf));
  }

  #keep(worker: Worker): void {
    worker.unref();
    this.#idle.push(worker);
  }
}

function resultOf(answer: FromWorker): LoadResult {
  switch (answer.type) {
    case 'done':
      return answer.result;
    case 'unusable':
      throw new UnusableTarget(answer.message, answer);
    case 'failed':
      throw new Error(answer.message);
    case 'ready':
    case 'progress':
      throw new Error('a thread of it never began');
  }
}
