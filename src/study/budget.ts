import { quantile } from 'simple-statistics';
import { formatDuration, fromSeconds, toSeconds, type Ms } from '../base/units.ts';
import type { TrialRecord } from '../parallel/records.ts';

export interface BudgetOptions {
  /** Seconds of wall clock, what earlier sessions of the run used included; undefined: no limit. */
  readonly seconds: number | undefined;
  /** What earlier sessions used of it. */
  readonly usedSeconds: number;
  readonly groups: number;
  readonly maxEvaluations: number;
  /** Measurements that confirm the answer. */
  readonly confirmations: number;
  /** Benchmarks of a configuration, at most. */
  readonly probes: number;
  readonly presets: number;
  /** Seconds, as the user expects them. */
  readonly expectedStart: number | undefined;
  readonly expectedBenchmark: number | undefined;
  /** Evaluations without a gain after which the search ends; undefined: never. */
  readonly patience: number | undefined;
}

/** Seconds of one trial of the search, and of one measurement with a start of its own. */
interface Costs {
  readonly trial: number;
  readonly confirmation: number;
}

/** A gain of less is none. */
const smallestGain = 0.01;
const margin = 1.1;
/** So many of the trials say what the next one takes. */
const newest = 500;

const text = (seconds: number): string => formatDuration(fromSeconds(Math.round(seconds)));

/** Of one benchmark each: at the load that was found, and at the present one. */
function benchmarkSeconds({ verdict, as_is, num_prompts }: TrialRecord): number[] {
  return [verdict, ...(as_is ? [as_is.verdict] : [])].flatMap((one) => {
    const throughput = one.kind === 'scored' ? one.performance.throughput : null;
    return throughput === null || throughput <= 0 || num_prompts === null ? [] : [num_prompts / throughput];
  });
}

/** What the time of a study is used for: nothing is begun that cannot end in it, and its tail confirms the answer. */
export class Budget {
  readonly #options: BudgetOptions;
  readonly #now: () => Ms;
  readonly #began: Ms;

  constructor(options: BudgetOptions, now: () => Ms) {
    this.#options = options;
    this.#now = now;
    this.#began = now();
  }

  /** Whether one more trial of the search leaves time to confirm the answer. */
  allowsSearch(told: readonly TrialRecord[]): boolean {
    if (this.#left === Infinity) return true;
    const costs = this.#costs(told, 0.9);
    return costs === undefined || this.#left >= margin * costs.trial + this.#tail(costs);
  }

  /** Whether one measurement more can end in time. */
  allowsConfirmation(told: readonly TrialRecord[]): boolean {
    if (this.#left === Infinity) return true;
    const costs = this.#costs(told, 0.9);
    return costs === undefined || this.#left >= costs.confirmation;
  }

  /** Whether the search may end for want of gains. */
  get isPatient(): boolean {
    return this.#options.patience !== undefined;
  }

  /** Whether so many evaluations have brought nothing that it is time to stop. */
  isExhausted(told: readonly TrialRecord[]): boolean {
    const { patience = Infinity } = this.#options;
    if (told.length < patience) return false;
    let [best, since] = [Infinity, 0];
    for (const { verdict, confirms, refines } of told) {
      if (confirms !== null || refines !== undefined) continue;
      since++;
      if (verdict.kind !== 'scored' || verdict.fitness > best * (1 - smallestGain)) continue;
      best = verdict.fitness;
      since = 0;
    }
    return since >= patience;
  }

  /** What fits, in a sentence; undefined while nothing is known of starts and benchmarks. */
  outlook(told: readonly TrialRecord[]): string | undefined {
    const { seconds, groups, maxEvaluations, confirmations, presets } = this.#options;
    const costs = this.#costs(told, 0.5);
    if (costs === undefined) return undefined;
    const basis = `with ${text(costs.trial)} a configuration and ${text(costs.confirmation)} a confirmation`;
    const whole = (costs.trial * (maxEvaluations - told.length)) / groups + this.#tail(costs);
    if (seconds === undefined)
      return `${basis}, ${maxEvaluations - told.length} configurations on ${groups} group(s) take about ${text(whole)}`;
    const time = Math.max(0, this.#left - this.#tail(costs));
    const fit = Math.min(maxEvaluations, told.length + Math.floor(time / (margin * costs.trial)) * groups);
    const [present, experts] = [Math.min(1, fit), Math.min(presets, Math.max(0, fit - 1))];
    const parts = `the present one, ${experts} of ${presets} presets, ${fit - present - experts} by search`;
    return fit === 0
      ? `${basis}, nothing can be measured in the ${text(this.#left)} that are left of the budget`
      : `${basis}, about ${fit} configurations fit into ${text(seconds)} on ${groups} group(s): ${parts}; then ${confirmations} measurements confirm the answer`;
  }

  get #left(): number {
    const { seconds = Infinity, usedSeconds } = this.#options;
    return seconds - usedSeconds - toSeconds((this.#now() - this.#began) as Ms);
  }

  #tail({ confirmation }: Costs): number {
    const { confirmations, groups } = this.#options;
    return Math.ceil(confirmations / groups) * confirmation;
  }

  /** Measured, else as the user expects them. */
  #costs(told: readonly TrialRecord[], q: number): Costs | undefined {
    const { expectedStart, expectedBenchmark, probes } = this.#options;
    const own = told
      .slice(-newest)
      .filter(({ group_id, reused_from }) => group_id !== null && reused_from === null);
    const searched = own.filter(({ confirms }) => confirms === null);
    const starts = own.filter(({ starts }) => starts !== 0).map(({ start_s }) => start_s);
    const benchmarks = own.flatMap(benchmarkSeconds);
    // The present configuration is confirmed whatever it takes.
    const first = told.find(({ trial_id }) => trial_id === 0);
    const present = Math.max(0, ...(first === undefined ? [] : benchmarkSeconds(first)));
    if (searched.length > 0 && starts.length > 0 && benchmarks.length > 0) {
      const trials = searched.map(({ start_s, benchmark_s }) => start_s + benchmark_s);
      const benchmark = Math.max(present, quantile(benchmarks, q));
      return { trial: quantile(trials, q), confirmation: quantile(starts, q) + benchmark };
    }
    if (expectedStart === undefined || expectedBenchmark === undefined) return undefined;
    return {
      trial: expectedStart + probes * expectedBenchmark,
      confirmation: expectedStart + expectedBenchmark,
    };
  }
}
