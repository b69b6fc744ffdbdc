import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { activeSlos, type SloStatistic } from '../core/fitness/slo.ts';
import { isTable } from './toml.ts';

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
