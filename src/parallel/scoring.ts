import { tooFew } from '../core/fitness/enough.ts';
import { partsOf } from '../core/fitness/composition.ts';
import { cost, fitness, type FitnessSettings, type Judged } from '../core/fitness/fitness.ts';
import { violations } from '../core/fitness/slo.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import type { GroupSpeeds } from './group-speeds.ts';
import type { Limit } from './incumbent.ts';
import type { LoadTrial } from './load-trial.ts';
import type { EvaluationDependencies, Measurement } from './measuring.ts';
import type { BenchmarkResult } from './ports.ts';
import type { ServiceGroup } from './service-group.ts';

/** What a result of a load tool is worth. */

interface Scored {
  readonly group: ServiceGroup;
  readonly suggestion: Suggestion;
  readonly signal: AbortSignal;
  readonly loads?: LoadTrial | undefined;
  readonly isOfGroup?: boolean | undefined;
}

/** Never better than what it was given up for. */
export function scoreCensored(
  { performance, percentiles, flags, numPrompts }: BenchmarkResult,
  running: Judged,
  limit: Limit,
  settings: FitnessSettings,
): Measurement {
  const judged: Judged = { ...performance, percentiles };
  const { sum, terms } = cost(judged, settings);
  const asItWent = cost(running, settings);
  const costs = [sum, asItWent.sum, 1.05 * limit.fitness].filter(Number.isFinite);
  return {
    numPrompts,
    verdict: {
      ...{ kind: 'scored', censored: true, fitness: Math.max(...costs), terms, performance },
      parts: partsOf(running, asItWent.terms, settings),
      ...{ percentiles, violations: violations(judged, settings), flags },
    },
  };
}

type Dependencies = Pick<EvaluationDependencies, 'speeds' | 'speedTarget' | 'fitness' | 'judgedBy'>;

/** The settings with the throughput to aim at, where that follows from the present configuration. */
async function settingsFor(
  { suggestion, loads, signal, isOfGroup }: Scored,
  result: BenchmarkResult,
  { speedTarget, fitness: usual }: Dependencies,
): Promise<FitnessSettings> {
  // Who waits for the present configuration would wait for itself.
  if (speedTarget === undefined || isOfGroup === true) return usual;
  const present = loads?.asIs?.verdict.performance ?? result.performance;
  const own =
    suggestion.origin === 'current' ? speedTarget.of(present.generate_speed) : speedTarget.settings(signal);
  return await own;
}

export async function score(
  measured: BenchmarkResult,
  job: Scored,
  dependencies: Dependencies,
): Promise<Measurement> {
  const { speeds, fitness: slos, judgedBy } = dependencies;
  const result: ReturnType<GroupSpeeds['scaled']> =
    job.isOfGroup === true || speeds === undefined ? measured : speeds.scaled(job.group.id, measured);
  const { performance, percentiles, goodput, flags, numPrompts, traits, canary, raw_performance } = result;
  const judged: Judged = { ...performance, percentiles, goodput };
  const settings = await settingsFor(job, result, dependencies);
  const { fitness: sum, terms } = fitness(judged, settings);
  return {
    numPrompts,
    verdict: {
      ...{ kind: 'scored', fitness: sum, terms, performance, percentiles },
      parts: partsOf(judged, terms, settings),
      ...(goodput === null ? {} : { goodput }),
      violations: violations(judged, slos),
      flags: [...flags, ...tooFew(judgedBy, numPrompts)],
      ...(raw_performance === undefined ? {} : { raw_performance }),
      ...(traits === undefined ? {} : { traits }),
      ...(canary === undefined ? {} : { canary }),
    },
  };
}
