import { bounds, performanceOf, running, type Observed } from '../../core/fitness/bounds.ts';
import type { BenchmarkContext, BenchmarkResult } from '../../parallel/ports.ts';
import type { BuiltinConfig } from './config.ts';
import type { Seen } from './ledger.ts';
import type { LoadJob } from './load.ts';

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Ends a load as soon as nothing can save it. */
export class HopelessWatch {
  readonly #job: LoadJob;
  readonly #config: BuiltinConfig;
  readonly #context: BenchmarkContext;
  #ended: BenchmarkResult | undefined;

  constructor(job: LoadJob, config: BuiltinConfig, context: BenchmarkContext) {
    this.#job = job;
    this.#config = config;
    this.#context = context;
  }

  /** The result of a load that was ended; undefined: it was not. */
  get ended(): BenchmarkResult | undefined {
    return this.#ended;
  }

  /** @returns whether it ends the load */
  look(seen: readonly Seen[], elapsedS: number): boolean {
    if (this.#ended !== undefined || this.#context.isHopeless === undefined) return false;
    const observed = this.#observed(seen, elapsedS);
    const best = bounds(observed, this.#config, this.#context.percentiles);
    if (!this.#context.isHopeless(best)) return false;
    const { percentiles = {} } = best;
    const document = { ended_early_after_s: observed.elapsedS, bounds: best, seen: observed };
    this.#ended = {
      performance: performanceOf(best),
      percentiles,
      goodput: null,
      numPrompts: this.#job.prompts.length,
      raw: [{ name: 'benchmark.json', content: `${JSON.stringify(document, null, 2)}\n` }],
      flags: [
        `ended early, after ${observed.elapsedS.toFixed(1)} s: nothing could save it; numbers are bounds`,
      ],
      censored: { running: running(observed, this.#config, this.#context.percentiles) },
    };
    return true;
  }

  #observed(seen: readonly Seen[], elapsedS: number): Observed {
    const { prompts } = this.#job;
    const { turns } = this.#config;
    return {
      elapsedS,
      requests: prompts.length * turns,
      maxOutputTokens: turns * sum(prompts.map(({ maxTokens }) => maxTokens)),
      ttftsMs: seen.flatMap(({ ttftsMs, openTtftsMs }) => [
        ...ttftsMs,
        ...(this.#context.mustAllSucceed === true ? openTtftsMs : []),
      ]),
      tpotsMs: seen.flatMap(({ tpotsMs }) => tpotsMs),
      tokens: sum(seen.map(({ tokens }) => tokens)),
      failed: sum(seen.map(({ failed }) => failed)),
    };
  }
}
