import { bounds, performanceOf, running, type Observed, type Scored } from '../core/fitness/bounds.ts';
import type { BenchmarkContext, BenchmarkResult } from '../parallel/ports.ts';

/** What a tool's progress is compared with. */
export interface ToolLoad {
  readonly requests: number;
  /** Of one request; undefined where nothing bounds it, and then nothing is ended early. */
  readonly maxOutputTokens: number | undefined;
  readonly scored: Scored;
}

/** As tqdm draws it, in `mm:ss` or `h:mm:ss`: ` 42%|████▏     | 84/200 [00:12<00:16,  7.02it/s]`. */
const bar = /\b(\d+)\/(\d+) \[(?:(\d+):)?(\d\d):(\d\d)</g;
const longestBar = 256;
/** The bar is there a moment before the tool looks at its clock. */
const slackS = 1;

/** Reads the bar of a load tool, and says when nothing can save what it measures. */
export class ToolProgress {
  readonly #load: ToolLoad;
  readonly #context: BenchmarkContext;
  #rest = '';
  #toldAtS: number | undefined;
  #ended: BenchmarkResult | undefined;

  constructor(load: ToolLoad, context: BenchmarkContext) {
    this.#load = load;
    this.#context = context;
  }

  /** The result of a measurement that was hopeless; undefined: none was. */
  get ended(): BenchmarkResult | undefined {
    return this.#ended;
  }

  /** @returns whether the tool need not go on, where it `canEnd` early */
  read(text: string, canEnd: boolean): boolean {
    const said = this.#rest + text;
    // Bars of other lengths are of other things, such as a warm-up.
    const [last] = [...said.matchAll(bar)]
      .filter(([, , total]) => Number(total) === this.#load.requests)
      .slice(-1);
    this.#rest = said.slice(last === undefined ? -longestBar : last.index + last[0].length);
    if (last === undefined || this.#ended !== undefined) return false;
    const done = Number(last[1]);
    const elapsedS = 3600 * Number(last[3] ?? 0) + 60 * Number(last[4]) + Number(last[5]);
    // Ten bars a second are more than anybody wants to know.
    const isDone = done >= this.#load.requests;
    if (elapsedS !== this.#toldAtS || isDone) this.#context.progress(done, this.#load.requests);
    this.#toldAtS = elapsedS;
    return canEnd && !isDone && this.#isHopeless(done, elapsedS - slackS);
  }

  #isHopeless(done: number, elapsedS: number): boolean {
    const { requests, maxOutputTokens, scored } = this.#load;
    const { isHopeless, percentiles } = this.#context;
    if (isHopeless === undefined || maxOutputTokens === undefined || elapsedS <= 0) return false;
    const observed: Observed = {
      elapsedS,
      requests,
      maxOutputTokens: requests * maxOutputTokens,
      tokens: done * maxOutputTokens,
      ...{ ttftsMs: [], tpotsMs: [], failed: 0 },
    };
    const best = bounds(observed, scored, percentiles);
    if (!isHopeless(best)) return false;
    const document = { ended_early_after_s: elapsedS, bounds: best, seen: { done, requests } };
    this.#ended = {
      performance: performanceOf(best),
      percentiles: best.percentiles ?? {},
      goodput: null,
      numPrompts: requests,
      raw: [{ name: 'benchmark.json', content: `${JSON.stringify(document, null, 2)}\n` }],
      flags: [`ended early, after ${elapsedS} s: nothing could save it; numbers are bounds`],
      censored: { running: running(observed, scored, percentiles) },
    };
    return true;
  }
}
