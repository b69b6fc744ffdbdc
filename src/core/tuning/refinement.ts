import type { PerformanceIndex } from '../fitness/fitness.ts';

/** A measured configuration that may be worth refining. */
export interface RefinementCandidate {
  readonly performance: PerformanceIndex;
  readonly fitness: number;
}

export interface RefinementRules {
  readonly ttft_penalty: number;
  readonly tpot_penalty: number;
  readonly ttft_slo: number;
  readonly tpot_slo: number;
  /** How far outside its SLO a configuration may be to be refined, relative. */
  readonly slo_coefficient: number;
}

function positive(value: number | null): value is number {
  return value !== null && value > 0;
}

/**
 * Which of the measured are refined: the `k` of least cost and the `k` of most throughput near their SLOs. Those of
 * least cost come first.
 */
export function refinementCandidates<T extends RefinementCandidate>(
  measured: readonly T[],
  k: number,
  rules: RefinementRules,
): T[] {
  const usable = measured.filter(
    ({ performance: p, fitness }) =>
      Number.isFinite(fitness) &&
      positive(p.time_to_first_token) &&
      positive(p.time_per_output_token) &&
      positive(p.generate_speed),
  );
  const { ttft_penalty, tpot_penalty, ttft_slo, tpot_slo, slo_coefficient: band } = rules;
  const near = usable.filter(({ performance: p }) => {
    const tpotNear = tpot_penalty === 0 || (p.time_per_output_token ?? Infinity) <= tpot_slo * (1 + band);
    const both = ttft_penalty !== 0 && tpot_penalty !== 0;
    return tpotNear && (!both || (p.time_to_first_token ?? Infinity) <= ttft_slo * (1 + band));
  });
  const cheapest = [...usable].sort((a, b) => a.fitness - b.fitness).slice(0, k);
  const fastest = [...near]
    .sort((a, b) => (b.performance.generate_speed ?? 0) - (a.performance.generate_speed ?? 0))
    .slice(0, k);
  return [...new Set([...cheapest, ...fastest])];
}
