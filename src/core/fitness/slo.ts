import type { FitnessSettings, PerformanceIndex } from './fitness.ts';

export type SloName = 'time_to_first_token' | 'time_per_output_token' | 'success_rate';

/** An SLO that a configuration misses. */
export interface Violation {
  readonly slo: SloName;
  /** Seconds, or a share for the success rate. */
  readonly limit: number;
  readonly measured: number | null;
}

export interface Slo {
  readonly name: SloName;
  readonly limit: number;
  readonly atLeast: boolean;
}

/** The SLOs that are switched on: those with a penalty. */
export function activeSlos(settings: FitnessSettings): Slo[] {
  const slos: Slo[] = [];
  if (settings.ttft_penalty !== 0) {
    slos.push({ name: 'time_to_first_token', limit: settings.ttft_slo, atLeast: false });
  }
  if (settings.tpot_penalty !== 0) {
    slos.push({ name: 'time_per_output_token', limit: settings.tpot_slo, atLeast: false });
  }
  if (settings.success_rate_penalty !== 0) {
    slos.push({ name: 'success_rate', limit: settings.success_rate_slo, atLeast: true });
  }
  return slos;
}

/** An SLO is met up to the value itself; what was not measured is not met. */
export function violations(performance: PerformanceIndex, settings: FitnessSettings): Violation[] {
  return activeSlos(settings)
    .filter(({ name, limit, atLeast }) => {
      const measured = performance[name];
      if (measured === null) return true;
      return atLeast ? measured < limit : measured > limit;
    })
    .map(({ name, limit }) => ({ slo: name, limit, measured: performance[name] }));
}

/** How far a configuration is outside its SLOs: the sum of the relative excesses. */
export function distance(missed: readonly Violation[]): number {
  return missed.reduce((sum, { limit, measured }) => {
    return sum + (measured === null ? Infinity : Math.abs(measured - limit) / limit);
  }, 0);
}
