import TinyQueue from 'tinyqueue';
import { createRng } from '../src/base/rng.ts';
import type { Fitness, TrialId } from '../src/base/units.ts';
import type { PerformanceIndex } from '../src/core/fitness/fitness.ts';
import { normal } from '../src/core/pso/draws.ts';
import type { Judgement, Optimizer, Suggestion } from '../src/core/pso/optimizer.ts';
import { listSchedule } from './list-schedule.ts';
import type { Scenario } from './scenarios.ts';

/** One study of a search on a scenario: groups, durations and noise, in simulated time. */
export interface Race {
  /** Since when, in s, what would be recommended is truly within 5 % of the best known; undefined: never. */
  readonly hitS: number | undefined;
  readonly totalS: number;
  /** True cost of what would be recommended, over the best known, less 1: after 20, 50 and all evaluations. */
  readonly gaps: readonly [number, number, number];
  /** Of a perfect scheduler of the same jobs. */
  readonly makespanRatio: number;
  readonly askMs: number;
}

export interface RaceOptions {
  readonly scenario: Scenario;
  readonly best: number;
  readonly groups: number;
  readonly seed: number;
  /** Sigma of a log-normal factor on the fitness. */
  readonly noise: number;
  /** Whether the best of them are measured again before one is recommended; else the best measurement is. */
  readonly confirms: boolean;
}

/** As the tool does it unless it is configured otherwise. */
const confirmation = { finalists: 3, runs: 3 } as const;

/** A machine goes down in so many of the evaluations; they are repeated. */
const faults = 0.03;
/** Starts take from half to three times as long as usual. */
const startSigma = 0.35;

interface Landing {
  readonly at: number;
  readonly group: number;
  readonly suggestion: Suggestion;
}

export function race(optimizer: Optimizer, options: RaceOptions): Race {
  const { scenario, best, groups, seed, noise, confirms } = options;
  const rng = createRng(seed).fork('race');
  const landings = new TinyQueue<Landing>([], (a, b) => a.at - b.at);
  const free = Array.from({ length: groups }, (_, group) => group);
  const jobs: number[] = [];
  const truths = new Map<TrialId, number>();
  const seen: { readonly id: TrialId; readonly cost: number }[] = [];
  const atEvaluation: number[] = [];
  let [now, told, hitS, asking, asked] = [0, 0, undefined as number | undefined, 0, 0];

  const duration = ({ params, trialId }: Suggestion, group: number): number => {
    const own = rng.fork(`duration-${trialId}`);
    const truth = scenario.truth(params);
    const factor = Math.min(3, Math.max(0.5, Math.exp(startSigma * normal(own))));
    const speed = scenario.speeds[group % scenario.speeds.length] ?? 1;
    const once = scenario.startS * factor + (truth.kind === 'scored' ? truth.benchmarkS / speed : 0);
    return own.next() < faults ? 1.5 * once : once;
  };
  const judge = ({ params, trialId }: Suggestion, group: number): Judgement => {
    const truth = scenario.truth(params);
    if (truth.kind === 'infeasible') return truth;
    truths.set(trialId, truth.fitness);
    const speed = scenario.speeds[group % scenario.speeds.length] ?? 1;
    const factor = Math.exp(noise * normal(rng.fork(`noise-${trialId}`))) / Math.sqrt(speed);
    const cost = truth.fitness * factor;
    seen.push({ id: trialId, cost });
    const parts = truth.performance && scenario.partsOf?.(noisy(truth.performance, trialId, factor));
    return { kind: 'scored', fitness: cost as Fitness, parts };
  };
  /** Throughput as noisy as the cost; latencies have a noise of their own. */
  const noisy = (performance: PerformanceIndex, id: TrialId, factor: number): PerformanceIndex => {
    const own = rng.fork(`latencies-${id}`);
    const scattered = (value: number | null): number => (value ?? 0) * Math.exp(noise * normal(own));
    return {
      ...performance,
      generate_speed: (performance.generate_speed ?? 0) / factor,
      time_to_first_token: scattered(performance.time_to_first_token),
      time_per_output_token: scattered(performance.time_per_output_token),
    };
  };
  /** What a repeated measurement says, on the group whose turn it is. */
  const again = (id: TrialId, run: number): number => {
    const speed = scenario.speeds[(run % groups) % scenario.speeds.length] ?? 1;
    const factor = Math.exp(noise * normal(rng.fork(`again-${id}-${run}`)));
    return ((truths.get(id) ?? Infinity) * factor) / Math.sqrt(speed);
  };
  const median = (values: readonly number[]): number =>
    [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Infinity;
  const confirmed = new Map<TrialId, number>();
  const confirm = (id: TrialId): number => {
    const known = confirmed.get(id);
    if (known !== undefined) return known;
    const found = median(Array.from({ length: confirmation.runs }, (_, run) => again(id, run)));
    confirmed.set(id, found);
    return found;
  };
  /** What would be recommended if the study ended here. */
  const recommend = (): TrialId | undefined => {
    if (!confirms) return optimizer.best?.trialId;
    const finalists = [...seen].sort((a, b) => a.cost - b.cost).slice(0, confirmation.finalists);
    return finalists.sort((a, b) => confirm(a.id) - confirm(b.id))[0]?.id;
  };

  for (;;) {
    while (free.length > 0) {
      const began = performance.now();
      const suggestion = optimizer.ask();
      asking += performance.now() - began;
      if (suggestion === undefined) break;
      asked++;
      const group = free.shift() as number;
      const takes = duration(suggestion, group);
      jobs.push(takes);
      landings.push({ at: now + takes, group, suggestion });
    }
    const landing = landings.pop();
    if (landing === undefined) break;
    now = landing.at;
    free.push(landing.group);
    optimizer.tell(landing.suggestion.trialId, judge(landing.suggestion, landing.group));
    told++;
    const id = recommend();
    const recommended = id === undefined ? Infinity : (truths.get(id) ?? Infinity);
    atEvaluation[told] = recommended / best - 1;
    if (recommended > 1.05 * best) hitS = undefined;
    else hitS ??= now;
  }
  const gap = (n: number): number => atEvaluation[Math.min(n, told)] ?? Infinity;
  return {
    hitS,
    totalS: now,
    gaps: [gap(20), gap(50), gap(told)],
    makespanRatio: now / listSchedule(jobs, groups).makespan,
    askMs: asking / asked,
  };
}
