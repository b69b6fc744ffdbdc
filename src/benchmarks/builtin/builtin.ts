import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { deferred } from '../../base/condition.ts';
import { BenchmarkExecutionError, type Blame } from '../../base/errors.ts';
import { createRng, type Rng } from '../../base/rng.ts';
import type { ServingParams } from '../../core/space/field.ts';
import type { Benchmark, BenchmarkContext, BenchmarkResult, BenchmarkTarget } from '../../parallel/ports.ts';
import type { BuiltinConfig } from './config.ts';
import type { LoadJob, LoadResult } from './load.ts';
import { summarizeLoad } from './metrics.ts';
import { makePrompts } from './prompts.ts';
import type { FromWorker, ToWorker } from './worker.ts';

/** Compiled code has its worker beside it; sources, as tests run them, use the compiled one. */
function workerFile(): string {
  const beside = fileURLToPath(new URL('./worker.js', import.meta.url));
  return existsSync(beside) ? beside : beside.replace('/src/', '/dist/');
}

function numberOf(params: ServingParams, ...names: string[]): number | undefined {
  const value = names.map((name) => params[name]).find((one) => one !== undefined);
  return value === undefined ? undefined : Number(value);
}

/** Fields of the search replace the load of the table. */
function applied(config: BuiltinConfig, params: ServingParams): BuiltinConfig {
  const rate = numberOf(params, 'REQUESTRATE');
  const concurrency = numberOf(params, 'CONCURRENCY', 'MAXCONCURRENCY');
  return {
    ...config,
    request_rate: rate === undefined ? config.request_rate : rate > 0 ? rate : Infinity,
    max_concurrency:
      concurrency === undefined ? config.max_concurrency : Math.max(1, Math.round(concurrency)),
  };
}

/** Poisson arrivals; all at once for an infinite rate. */
function arrivals(count: number, rate: number, rng: Rng): number[] {
  let at = 0;
  return Array.from({ length: count }, (_, index) => {
    if (index > 0 && Number.isFinite(rate)) at += (-Math.log(1 - rng.next()) / rate) * 1000;
    return at;
  });
}

/** Nothing succeeded: who is to blame is in how it failed. */
function nothingSucceeded(target: BenchmarkTarget, load: LoadResult): BenchmarkExecutionError {
  const failed = load.outcomes.find((outcome) => !outcome.ok);
  const message = failed?.ok === false ? failed.message : 'no request was made';
  const status = failed?.ok === false ? failed.status : undefined;
  const kind = failed?.ok === false ? failed.kind : 'empty';
  return unusable(target, message, status, kind === 'refused' ? 'ECONNREFUSED' : undefined, kind);
}

function unusable(
  target: BenchmarkTarget,
  message: string,
  status: number | undefined,
  code: string | undefined,
  kind = 'error',
): BenchmarkExecutionError {
  const wrongUrl = status === undefined ? code !== undefined : [401, 403, 404, 405].includes(status);
  let blame: Blame = 'benchmark';
  if (wrongUrl) blame = 'operator';
  else if (status === 400 || status === 422) blame = 'params';
  else if (kind === 'timeout' || kind === 'http') blame = 'load';
  return new BenchmarkExecutionError(
    'builtin',
    `every request to ${target.baseUrl} failed: ${message}`,
    undefined,
    {
      blame,
      remedy: wrongUrl
        ? 'The service is healthy but does not answer there: check base_url, model and endpoint.'
        : 'Look at the service log of the trial.',
    },
  );
}

async function answerOf(worker: Worker, message: ToWorker): Promise<FromWorker> {
  const answer = deferred<FromWorker>();
  const onError = (error: Error): void => answer.reject(error);
  const onExit = (code: number): void => answer.reject(new Error(`exit code ${code}`));
  worker.on('message', answer.resolve).on('error', onError).on('exit', onExit);
  worker.postMessage(message);
  try {
    return await answer.promise;
  } finally {
    worker.off('message', answer.resolve).off('error', onError).off('exit', onExit);
  }
}

/** A load generator for OpenAI-compatible servers, on worker threads of its own. */
export class BuiltinBenchmark implements Benchmark<BuiltinConfig> {
  readonly name = 'builtin';
  readonly #idle: Worker[] = [];

  async run(
    config: BuiltinConfig,
    target: BenchmarkTarget,
    params: ServingParams,
    context: BenchmarkContext,
  ): Promise<BenchmarkResult> {
    const load = applied(config, params);
    const rng = createRng(context.seed).fork(`${context.runId}/${context.trialId}/${context.attempt}`);
    const job: LoadJob = {
      baseUrl: target.baseUrl,
      endpoint: load.endpoint,
      model: target.model,
      warmups: makePrompts(load, load.num_warmups, rng.fork('warm-up')),
      prompts: makePrompts(load, load.num_prompts, rng.fork('prompts')),
      due: arrivals(load.num_prompts, load.request_rate, rng.fork('arrivals')),
      maxConcurrency: load.max_concurrency,
      ignoreEos: load.ignore_eos,
      // Its own limit strikes first, so that what came by then is still a measurement.
      timeoutMs: Math.min(load.timeout * 1000, context.timeout * 0.98),
    };
    const answer = await this.#onWorker(job, context.signal);
    if (answer.type === 'unusable') throw unusable(target, answer.message, answer.status, answer.code);
    if (answer.type === 'failed') throw new BenchmarkExecutionError('builtin', answer.message);
    if (!answer.result.outcomes.some((outcome) => outcome.ok)) throw nothingSucceeded(target, answer.result);
    return summarizeLoad(job, load, answer.result, context.clock.wallTime().toISOString());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#idle.splice(0).map(async (worker) => worker.terminate()));
  }

  async #onWorker(job: LoadJob, signal: AbortSignal): Promise<FromWorker> {
    signal.throwIfAborted();
    const worker = this.#idle.pop() ?? new Worker(workerFile());
    worker.ref();
    const abort = (): void => worker.postMessage({ type: 'abort' } satisfies ToWorker);
    signal.addEventListener('abort', abort, { once: true });
    try {
      const answer = await answerOf(worker, { type: 'run', job });
      worker.unref();
      this.#idle.push(worker);
      signal.throwIfAborted();
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      throw new BenchmarkExecutionError(
        'builtin',
        `its worker failed: ${(error as Error).message}`,
        undefined,
        { cause: error },
      );
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }
}
