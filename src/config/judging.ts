import { ConfigurationError } from '../base/errors.ts';
import type { FitnessSettings, Objective } from '../core/fitness/fitness.ts';
import { activeSlos, type SloStatistic } from '../core/fitness/slo.ts';
import type { TopLevel } from './schema.ts';
import { parseSlo } from './slo-text.ts';
import { isTable } from './toml.ts';

/** What measurements are judged by, and whether a benchmark tells it. */

interface JudgingFlags {
  readonly slo?: readonly string[] | undefined;
  readonly objective?: Objective | undefined;
}

export function fitnessOf(top: TopLevel, flags: JudgingFlags): FitnessSettings {
  const slos = flags.slo?.map(parseSlo) ?? top.slo;
  return {
    ...(slos.length === 0 ? {} : { slos }),
    objective: flags.objective ?? top.objective,
    ttft_penalty: top.ttft_penalty,
    tpot_penalty: top.tpot_penalty,
    success_rate_penalty: top.success_rate_penalty,
    ttft_slo: top.ttft_slo,
    tpot_slo: top.tpot_slo,
    success_rate_slo: top.success_rate_slo,
    generate_speed_target: top.generate_speed_target,
  };
}

/** Which statistics of latencies decide: those of SLOs in words, and those that the benchmark scores. */
export function judgedStatistics(
  fitness: FitnessSettings,
  benchmarkConfig: unknown,
): readonly { readonly of: string; readonly statistic: SloStatistic }[] {
  const table = isTable(benchmarkConfig) ? benchmarkConfig : {};
  return activeSlos(fitness).flatMap(({ name, statistic }) => {
    if (name === 'success_rate') return [];
    const scored = table[name];
    const which = statistic ?? (typeof scored === 'string' ? (scored as SloStatistic) : 'mean');
    return [{ of: name, statistic: which }];
  });
}

/** Of one benchmark, as far as its table says; as many as anybody needs where it does not. */
export function plannedRequests({ sample_size: most }: TopLevel, benchmarkConfig: unknown): number {
  const { num_prompts: prompts } = benchmarkConfig as { num_prompts?: unknown };
  return typeof prompts === 'number' ? Math.min(prompts, most) : Infinity;
}

/** Found out after the first start otherwise. */
export function refuseGoodputOfNothing(
  { objective }: FitnessSettings,
  benchmark: string,
  config: unknown,
): void {
  const { goodput } = config as { goodput?: unknown };
  if (objective !== 'goodput' || (typeof goodput === 'string' && goodput.trim() !== '')) return;
  throw new ConfigurationError(
    `objective = "goodput": ${benchmark} has no limits of one request to count by`,
    {},
    { remedy: 'Give them, such as goodput = "ttft:200 tpot:50" in [builtin], or choose another objective.' },
  );
}
