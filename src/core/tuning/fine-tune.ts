import type { PerformanceIndex } from '../fitness/fitness.ts';
import { valueBounds, type Field, type ServingParams } from '../space/field.ts';
import { isConcurrency, isRequestRate } from './load-fields.ts';

export interface FineTuneOptions {
  readonly ttft_penalty: number;
  readonly tpot_penalty: number;
  /** Seconds. */
  readonly ttft_slo: number;
  readonly tpot_slo: number;
  /** Width of the band below an SLO in which nothing is changed. */
  readonly slo_coefficient: number;
  /** The most by which a value changes in one step, relative. */
  readonly step_size: number;
}

/** One parameter's way so far. */
interface Trail {
  readonly field: Field;
  readonly values: number[];
  readonly factors: number[];
}

const smallestChange = 0.1;

/** Against its SLO: positive where there is room, negative where it is missed, 0 in between. */
function room(measured: number, slo: number, band: number): number {
  const under = measured < slo * (1 - band);
  return measured > slo || under ? (slo - measured) / slo : 0;
}

/**
 * Brings the load of one configuration to its SLOs, step by step: the concurrency by TPOT, then the request rate by
 * TTFT. The original's rules.
 */
export class FineTune {
  readonly #options: FineTuneOptions;
  readonly #concurrency: Trail | undefined;
  readonly #rate: Trail | undefined;

  constructor(options: FineTuneOptions, fields: readonly Field[]) {
    this.#options = options;
    const trail = (field: Field | undefined): Trail | undefined =>
      field && { field, values: [], factors: [] };
    this.#concurrency = trail(fields.find(isConcurrency));
    this.#rate = trail(fields.find(isRequestRate));
  }

  /** The next configuration to measure; undefined: nothing would change any more, or too little is known. */
  next(params: ServingParams, performance: PerformanceIndex): ServingParams | undefined {
    const { ttft_penalty, tpot_penalty } = this.#options;
    const { time_to_first_token: ttft, time_per_output_token: tpot } = performance;
    if ((ttft_penalty === 0 && tpot_penalty === 0) || tpot === null) return undefined;
    if (ttft === null && ttft_penalty !== 0) return undefined;
    for (const trail of [this.#rate, this.#concurrency]) {
      if (trail !== undefined) trail.values.push(Number(params[trail.field.name]));
    }
    return this.#byConcurrency(params, tpot) ?? this.#byRate(params, ttft ?? 0);
  }

  #byConcurrency(params: ServingParams, tpot: number): ServingParams | undefined {
    const { tpot_slo, slo_coefficient: band, step_size: step } = this.#options;
    const trail = this.#concurrency;
    if (trail === undefined) return undefined;
    const changed = this.#move(trail, step * room(tpot, tpot_slo, band));
    if (changed === undefined) return undefined;
    const rate = this.#rate;
    const first = rate === undefined ? {} : { [rate.field.name]: rate.values[0] as number };
    return { ...params, ...first, [trail.field.name]: changed };
  }

  #byRate(params: ServingParams, ttft: number): ServingParams | undefined {
    const { ttft_penalty, ttft_slo, slo_coefficient: band, step_size: step } = this.#options;
    const trail = this.#rate;
    if (trail === undefined || ttft_penalty === 0) return undefined;
    const left = room(ttft, ttft_slo, band);
    // Never above the concurrency: requests would wait in the client.
    const most = this.#concurrency?.values.at(-1);
    const changed = this.#move(trail, left > 0 ? step : step * left, most);
    return changed === undefined ? undefined : { ...params, [trail.field.name]: changed };
  }

  /** Where two steps went opposite ways, the next one is a part of the last. */
  #move({ field, values, factors }: Trail, factor: number, most = Infinity): number | undefined {
    if (factor === 0) return undefined;
    const { step_size: step } = this.#options;
    factors.push(factor);
    const f = Math.min(step, Math.max(-step, factor));
    const [before, last] = factors.slice(-2);
    const [previous, latest] = values.length > 1 ? values.slice(-2) : [undefined, values[0]];
    const value = latest as number;
    const turned = before !== undefined && last !== undefined && before * last < 0;
    const usable = previous !== undefined && (isRequestRate(field) || previous !== value);
    const wanted = turned && usable ? value + f * Math.abs(value - previous) : value * (1 + f);
    const { min, max } = valueBounds(field);
    const next = Math.min(max, most, Math.max(min, wanted));
    return Math.abs(next - value) >= smallestChange ? next : undefined;
  }
}
