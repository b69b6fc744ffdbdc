import { need } from '../../base/assert.ts';
import { BenchmarkExecutionError, type Blame } from '../../base/errors.ts';
import { createRng } from '../../base/rng.ts';
import { arrivals } from '../../core/load/arrivals.ts';
import type { ServingParams } from '../../core/space/field.ts';
import type {
  Benchmark,
  BenchmarkContext,
  BenchmarkPreview,
  BenchmarkResult,
  BenchmarkTarget,
  LoadPlace,
} from '../../parallel/ports.ts';
import type { BuiltinConfig } from './config.ts';
import { UnusableTarget, type LoadJob, type LoadResult } from './load.ts';
import type { LoadRequest, MadeLoad, OnSeen } from './make-load.ts';
import { LocalLoad } from './local-load.ts';
import { summarizeLoad, together } from './metrics.ts';
import { appliedLoad, sampled } from '../tool.ts';
import { parseGoodput } from './goodput.ts';
import { makePrompts } from './prompts.ts';
import { HopelessWatch } from './hopeless.ts';
import { remoteLoad } from './remote-load.ts';

/** Fields of the search replace the load of the table. */
function applied(config: BuiltinConfig, params: ServingParams): BuiltinConfig {
  const { concurrency, requestRate } = appliedLoad(params);
  const isSearched = params['REQUESTRATE'] !== undefined;
  return {
    ...config,
    request_rate: isSearched ? (requestRate ?? Infinity) : config.request_rate,
    max_concurrency: concurrency ?? config.max_concurrency,
  };
}

/** Nothing succeeded: who is to blame is in how it failed. */
function nothingSucceeded(target: Target, load: LoadResult): BenchmarkExecutionError {
  const failed = load.outcomes.find((outcome) => !outcome.ok);
  const message = failed?.ok === false ? failed.message : 'no request was made';
  const status = failed?.ok === false ? failed.status : undefined;
  const kind = failed?.ok === false ? failed.kind : 'empty';
  return unusable(target, message, status, kind === 'refused' ? 'ECONNREFUSED' : undefined, kind);
}

interface Target extends BenchmarkTarget {
  /** Where the load comes from. */
  readonly from: LoadPlace;
}

function unusable(
  target: Target,
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
  const elsewhere = target.from === 'controller' ? '' : target.from.replace('host:', '');
  const said = `every request to ${target.baseUrl}${elsewhere && ` from ${elsewhere}`} failed: ${message}`;
  let remedy = 'Look at the service log of the trial.';
  if (wrongUrl)
    remedy = 'The service is healthy but does not answer there: check base_url, model and endpoint.';
  if (wrongUrl && status === undefined && elsewhere !== '')
    remedy = `This machine reaches it: check from ${elsewhere} its name, the firewall and the address that it listens at, or set run_on = "controller".`;
  return new BenchmarkExecutionError('builtin', said, undefined, { blame, remedy });
}

/** Of a timer of Node; and what goes to another machine as JSON must not be infinite. */
const longestMs = 2 ** 31 - 1;

/** Between two looks at a load: for who watches it, and because it may be hopeless. */
const progressMs = 500;

/** A load generator for OpenAI-compatible servers, in a process of its own. */
export class BuiltinBenchmark implements Benchmark<BuiltinConfig> {
  readonly name = 'builtin';
  readonly #local = new LocalLoad();

  check(config: BuiltinConfig): void {
    parseGoodput(config.goodput);
    makePrompts(config, 1, createRng(0));
  }

  preview(config: BuiltinConfig, { baseUrl }: BenchmarkTarget, params: ServingParams): BenchmarkPreview {
    const { num_prompts, max_concurrency, request_rate, endpoint, dataset_path } = applied(config, params);
    const tokens = (length: BuiltinConfig['input_len']): string =>
      typeof length === 'number' ? String(length) : `${length.mean} ± ${length.std}`;
    const prompts =
      dataset_path === ''
        ? `prompts of ${tokens(config.input_len)} tokens, answers of ${tokens(config.output_len)}`
        : `prompts of ${dataset_path}`;
    const rate = request_rate === Infinity ? 'as fast as that lets them' : `${request_rate} a second`;
    const says = `${num_prompts} ${endpoint} requests to ${baseUrl}, at most ${max_concurrency} at a time, ${rate}; ${prompts}`;
    return { where: config.run_on, says };
  }

  async run(
    config: BuiltinConfig,
    target: BenchmarkTarget,
    params: ServingParams,
    context: BenchmarkContext,
  ): Promise<BenchmarkResult> {
    const applying = { ...config, num_prompts: sampled(config.num_prompts, context) };
    const load = applied(applying, params);
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
      timeoutMs: Math.min(load.timeout * 1000, context.timeout * 0.98, longestMs),
      stallMs: Math.min(load.stall_timeout * 1000, longestMs),
      progressMs,
    };
    const watch = new HopelessWatch(job, load, context);
    const all = job.prompts.length * load.turns;
    const onSeen: OnSeen<boolean> = (seen, elapsedS) => {
      context.progress(
        seen.reduce((sum, { ttftsMs, failed }) => sum + ttftsMs.length + failed, 0),
        all,
      );
      return watch.look(seen, elapsedS);
    };
    const request: LoadRequest = {
      ...{ job, resetCache: load.reset_cache, threads: load.threads },
      canary: context.canary === true,
    };
    const aim: Target = { ...target, from: load.run_on };
    let made: MadeLoad | undefined;
    try {
      made =
        load.run_on === 'controller'
          ? await this.#local.make(request, onSeen, context.signal)
          : await remoteLoad(load.run_on, request, onSeen, context);
    } catch (error) {
      if (error instanceof UnusableTarget) throw unusable(aim, error.message, error.status, error.code);
      throw error;
    }
    if (watch.ended !== undefined) return watch.ended;
    const { results, server, canary } = need(made, 'load');
    const whole = together(results);
    if (!whole.outcomes.some((outcome) => outcome.ok)) throw nothingSucceeded(aim, whole);
    const date = context.clock.wallTime().toISOString();
    const { percentiles } = context;
    const about = { date, server, threads: results.length, percentiles };
    const result = summarizeLoad(job, load, whole, about);
    return canary === undefined ? result : { ...result, canary };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#local[Symbol.asyncDispose]();
  }
}
