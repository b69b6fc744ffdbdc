import { FitnessCalculationError } from '../../base/errors.ts';
import type { Fitness } from '../../base/units.ts';
import { activeSlos, measuredOf, type SloName, type StatedSlo } from './slo.ts';

/** Distribution of one latency over the successful requests, in ms. */
export interface Percentiles {
  readonly mean: number;
  readonly median: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  /** Others that somebody asked for, such as p99.9. */
  readonly [other: `p${number}`]: number;
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

/** One measurement as it is judged: latencies by statistic in ms, requests a second that kept their own SLOs. */
export type Judged = PerformanceIndex & {
  readonly percentiles?: Readonly<Partial<Record<string, Partial<Percentiles>>>>;
  readonly goodput?: number | null;
};

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
  /** In the user's words; they replace those of the keys about the same metric. */
  readonly slos?: readonly StatedSlo[] | undefined;
  /** What is best among the configurations within the SLOs; throughput where nobody says. */
  readonly objective?: Objective | undefined;
}

/** Output tokens a second, requests a second that kept their own SLOs, or the cost. */
export type Objective = 'throughput' | 'goodput' | 'fitness';

/** The cost by its parts; they add up to the fitness. A part whose SLO is off in the original's way is absent. */
export interface FitnessTerms extends Partial<Record<Exclude<SloName, 'success_rate'>, number>> {
  readonly generate_speed: number;
  readonly success_rate: number;
}

/** Of the terms of the cost beside the throughput. */
export const weights: Readonly<Record<SloName, number>> = {
  time_to_first_token: 0.2,
  time_per_output_token: 0.3,
  inter_token_latency: 0.2,
  end_to_end_latency: 0.2,
  success_rate: 0.1,
};

const latencyNames = [
  'time_to_first_token',
  'time_per_output_token',
  'inter_token_latency',
  'end_to_end_latency',
] as const;

/** weight · e^(penalty (measured/limit - 1)), the mean of them where several SLOs are about one latency. */
function latencyTerm(
  name: (typeof latencyNames)[number],
  judged: Judged,
  settings: FitnessSettings,
): number | undefined {
  const { ttft_slo, tpot_slo } = settings;
  const stated = activeSlos(settings).filter((slo) => slo.name === name);
  // Switched off, it is a constant; the original adds it all the same.
  const off = { time_to_first_token: ttft_slo, time_per_output_token: tpot_slo };
  const limit = name in off ? off[name as keyof typeof off] : 0;
  const slos = stated.length > 0 ? stated : [{ name, limit, penalty: 0, statistic: undefined }];
  const parts = slos.flatMap((slo) => {
    const measured = measuredOf(slo, judged);
    return measured === null || slo.limit <= 0 ? [] : [Math.exp(slo.penalty * (measured / slo.limit - 1))];
  });
  return parts.length === 0
    ? undefined
    : (weights[name] * parts.reduce((sum, part) => sum + part, 0)) / parts.length;
}

/** Tokens a second; of the requests that kept their SLOs where goodput is what counts. */
function countedSpeed({ generate_speed: speed, throughput, goodput }: Judged, objective: Objective): number {
  if (speed === null || speed <= 0) return 0;
  if (objective !== 'goodput') return speed;
  return throughput === null || throughput <= 0 ? 0 : speed * ((goodput ?? 0) / throughput);
}

/**
 * The cost formula of the original, lower is better; Infinity where it has no finite value:
 * 0.4 G/g + 0.2 e^(kt (ttft/St - 1)) + 0.3 e^(kp (tpot/Sp - 1)) + 0.1 e^(ks (Ss/s - 1)).
 */
export function cost(judged: Judged, settings: FitnessSettings): { sum: number; terms: FitnessTerms } {
  const { success_rate: success } = judged;
  const speed = countedSpeed(judged, settings.objective ?? 'throughput');
  const speedTerm = speed <= 0 ? Infinity : 0.4 * (settings.generate_speed_target / speed);
  const stated = activeSlos(settings).find(({ name }) => name === 'success_rate');
  const { limit, penalty } = stated ?? { limit: settings.success_rate_slo, penalty: 0 };
  const successTerm =
    success === null || success <= 0
      ? Infinity
      : weights.success_rate * Math.exp(penalty * (limit / success - 1));
  const latencies = latencyNames.flatMap((name) => {
    const term = latencyTerm(name, judged, settings);
    return term === undefined ? [] : [[name, term] as const];
  });
  return {
    sum: speedTerm + latencies.reduce((sum, [, term]) => sum + term, 0) + successTerm,
    terms: { generate_speed: speedTerm, ...Object.fromEntries(latencies), success_rate: successTerm },
  };
}

function missing(judged: Judged, settings: FitnessSettings): string[] {
  const slos = activeSlos(settings)
    .filter((slo) => slo.name !== 'success_rate' && !Number.isFinite(measuredOf(slo, judged) ?? NaN))
    .map(({ name, statistic }) => (statistic === undefined ? name : `${statistic} of ${name}`));
  const others = (['generate_speed', 'success_rate'] as const).filter(
    (metric) => judged[metric] === null || Number.isNaN(judged[metric]),
  );
  const goodput = settings.objective === 'goodput' && (judged.goodput ?? null) === null ? ['goodput'] : [];
  return [...others, ...slos, ...goodput];
}

/**
 * The fitness of a measurement that can be trusted with one.
 * @throws FitnessCalculationError where a metric that an SLO needs is missing, or nothing was generated
 */
export function fitness(
  judged: Judged,
  settings: FitnessSettings,
): { fitness: Fitness; terms: FitnessTerms } {
  const [metric] = missing(judged, settings);
  if (metric !== undefined) {
    throw new FitnessCalculationError(`the benchmark reported no ${metric}`, judged, {
      remedy: `Switch its SLO off (penalty 0) or use a benchmark that measures ${metric}.`,
    });
  }
  if (judged.success_rate === 0 || (judged.generate_speed ?? 0) <= 0) {
    throw new FitnessCalculationError('no request succeeded', judged);
  }
  const { sum, terms } = cost(judged, settings);
  // e^700 and more: far outside every SLO, but still a measurement that can be ranked.
  const bounded = Number.isFinite(sum) ? sum : Number.MAX_VALUE;
  return { fitness: bounded as Fitness, terms };
}
