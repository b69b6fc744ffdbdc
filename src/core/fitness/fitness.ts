import { FitnessCalculationError } from '../../base/errors.ts';
import type { Fitness } from '../../base/units.ts';

/** Distribution of one latency over the successful requests, in ms. */
export interface Percentiles {
  readonly mean: number;
  readonly median: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
}

/** What one benchmark measured, in the units of the original: tokens/s, s, share, requests/s. */
export interface PerformanceIndex {
  /** Output tokens a second. */
  readonly generate_speed: number | null;
  /** Mean TTFT in seconds. */
  readonly time_to_first_token: number | null;
  /** Mean TPOT in seconds, without the first token. */
  readonly time_per_output_token: number | null;
  /** Completed requests / all requests. */
  readonly success_rate: number | null;
  /** Completed requests a second. */
  readonly throughput: number | null;
}

export interface FitnessSettings {
  readonly ttft_penalty: number;
  readonly tpot_penalty: number;
  readonly success_rate_penalty: number;
  /** Seconds. */
  readonly ttft_slo: number;
  /** Seconds. */
  readonly tpot_slo: number;
  readonly success_rate_slo: number;
  /** Tokens/s. */
  readonly generate_speed_target: number;
}

/** The cost by its parts; they add up to the fitness. A part whose SLO is off in the original's way is absent. */
export interface FitnessTerms {
  readonly generate_speed: number;
  readonly time_to_first_token?: number;
  readonly time_per_output_token?: number;
  readonly success_rate: number;
}

function latencyTerm(
  weight: number,
  penalty: number,
  measured: number | null,
  slo: number,
): number | undefined {
  if (measured === null || slo <= 0) return undefined;
  return weight * Math.exp(penalty * (measured / slo - 1));
}

/**
 * The cost formula of the original, lower is better; Infinity where it has no finite value:
 * 0.4 G/g + 0.2 e^(kt (ttft/St - 1)) + 0.3 e^(kp (tpot/Sp - 1)) + 0.1 e^(ks (Ss/s - 1)).
 */
export function cost(
  performance: PerformanceIndex,
  settings: FitnessSettings,
): { sum: number; terms: FitnessTerms } {
  const { generate_speed: speed, success_rate: success } = performance;
  const speedTerm = speed === null || speed <= 0 ? Infinity : 0.4 * (settings.generate_speed_target / speed);
  const ttft = latencyTerm(0.2, settings.ttft_penalty, performance.time_to_first_token, settings.ttft_slo);
  const tpot = latencyTerm(0.3, settings.tpot_penalty, performance.time_per_output_token, settings.tpot_slo);
  const successTerm =
    success === null || success <= 0
      ? Infinity
      : 0.1 * Math.exp(settings.success_rate_penalty * (settings.success_rate_slo / success - 1));
  return {
    sum: speedTerm + (ttft ?? 0) + (tpot ?? 0) + successTerm,
    terms: {
      generate_speed: speedTerm,
      ...(ttft === undefined ? {} : { time_to_first_token: ttft }),
      ...(tpot === undefined ? {} : { time_per_output_token: tpot }),
      success_rate: successTerm,
    },
  };
}

/**
 * The fitness of a measurement that can be trusted with one.
 * @throws FitnessCalculationError where a metric that an SLO needs is missing, or nothing was generated
 */
export function fitness(
  performance: PerformanceIndex,
  settings: FitnessSettings,
): { fitness: Fitness; terms: FitnessTerms } {
  const needed: [keyof PerformanceIndex, boolean][] = [
    ['generate_speed', true],
    ['success_rate', true],
    ['time_to_first_token', settings.ttft_penalty !== 0],
    ['time_per_output_token', settings.tpot_penalty !== 0],
  ];
  for (const [metric, isNeeded] of needed) {
    const value = performance[metric];
    if (isNeeded && (value === null || Number.isNaN(value))) {
      throw new FitnessCalculationError(`the benchmark reported no ${metric}`, performance, {
        remedy: `Switch its SLO off (penalty 0) or use a benchmark that measures ${metric}.`,
      });
    }
  }
  if (performance.success_rate === 0 || (performance.generate_speed ?? 0) <= 0) {
    throw new FitnessCalculationError('no request succeeded', performance);
  }
  const { sum, terms } = cost(performance, settings);
  // e^700 and more: far outside every SLO, but still a measurement that can be ranked.
  const bounded = Number.isFinite(sum) ? sum : Number.MAX_VALUE;
  return { fitness: bounded as Fitness, terms };
}
