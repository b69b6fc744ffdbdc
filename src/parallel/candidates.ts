import { median } from 'simple-statistics';
import { need } from '../base/assert.ts';
import type { FitnessSettings, Judged, PerformanceIndex } from '../core/fitness/fitness.ts';
import { closest, recommend, worth } from '../core/fitness/recommend.ts';
import { violations, type Violation } from '../core/fitness/slo.ts';
import { paramsKey } from '../core/space/space.ts';
import { isScored, judgedOf, type ScoredRecord, type TrialRecord } from './records.ts';

/** A trial that searched its load measured several configurations: some of them may be the answer. */
function measurementsOf(record: TrialRecord): TrialRecord[] {
  const { as_is, fastest } = record;
  const more = [...(as_is ? [as_is] : []), ...(fastest === undefined ? [] : [fastest])].filter(
    (one, index, all) =>
      paramsKey(one.params) !== paramsKey(record.params) &&
      all.findIndex(({ params }) => paramsKey(params) === paramsKey(one.params)) === index,
  );
  return [...more.map(({ params, verdict }) => ({ ...record, params, verdict })), record];
}

/** What runs today, at the load of today. */
export const isPresent = ({ trial_id, params, as_is }: TrialRecord): boolean =>
  trial_id === 0 && as_is !== null && (as_is === undefined || paramsKey(as_is.params) === paramsKey(params));

/** A configuration by what counts of its measurements: those that confirm it, where there are any. */
export interface Candidate {
  /** The measurement that came first. */
  readonly record: ScoredRecord;
  readonly measurements: readonly ScoredRecord[];
  /** Measured again, so that luck does not choose. */
  readonly confirmations: readonly ScoredRecord[];
  /** Attempts to confirm it in which it could not be served. */
  readonly refuted: number;
  /** Medians of what counts. */
  readonly performance: Judged;
  readonly fitness: number;
  /** Of the medians. */
  readonly violations: readonly Violation[];
}

function middle(values: readonly (number | null | undefined)[]): number | null {
  const known = values.filter((value) => value !== null && value !== undefined);
  return known.length === 0 ? null : median(known);
}

/** Latency by latency, statistic by statistic. */
function percentilesOf(counted: readonly ScoredRecord[]): NonNullable<Judged['percentiles']> {
  const all = counted.map(({ verdict }) => verdict.percentiles);
  const [first = {}] = all;
  return Object.fromEntries(
    Object.entries(first).map(([latency, statistics = {}]) => [
      latency,
      Object.fromEntries(
        Object.keys(statistics).map((name) => [
          name,
          middle(all.map((one) => one[latency]?.[name as keyof typeof statistics])) ?? 0,
        ]),
      ),
    ]),
  );
}

function mediansOf(counted: readonly ScoredRecord[]): Judged {
  const of = (metric: keyof PerformanceIndex): number | null =>
    middle(counted.map(({ verdict }) => verdict.performance[metric]));
  return {
    generate_speed: of('generate_speed'),
    time_to_first_token: of('time_to_first_token'),
    time_per_output_token: of('time_per_output_token'),
    success_rate: of('success_rate'),
    throughput: of('throughput'),
    percentiles: percentilesOf(counted),
    goodput: middle(counted.map(({ verdict }) => verdict.goodput)),
  };
}

function candidateOf(
  measurements: readonly [ScoredRecord, ...ScoredRecord[]],
  refuted: number,
  slos: FitnessSettings,
): Candidate {
  const confirmations = measurements.filter(({ confirms }) => confirms !== null);
  const counted = confirmations.length > 0 ? confirmations : measurements;
  const performance = mediansOf(counted);
  return {
    record: measurements[0],
    measurements,
    confirmations,
    refuted,
    performance,
    fitness: middle(counted.map(({ verdict }) => verdict.fitness)) ?? Infinity,
    violations: violations(performance, slos),
  };
}

/** Most configurations are measured once, and asked for again and again. */
const singles = new WeakMap<
  ScoredRecord,
  { readonly slos: FitnessSettings; readonly candidate: Candidate }
>();

/** Measurements by configuration, in the order of the first of each. */
class Measurements {
  readonly #slos: FitnessSettings;
  readonly #scored = new Map<string, [ScoredRecord, ...ScoredRecord[]]>();
  readonly #refuted = new Map<string, number>();

  constructor(slos: FitnessSettings) {
    this.#slos = slos;
  }

  /** @returns the configurations that it measures, and whether they are new */
  add(told: TrialRecord): { readonly key: string; readonly isNew: boolean }[] {
    return measurementsOf(told).flatMap((record): { key: string; isNew: boolean }[] => {
      if (record.reused_from !== null || (isScored(record) && record.verdict.censored === true)) return [];
      const key = paramsKey(record.params);
      const known = this.#scored.get(key);
      if (!isScored(record)) {
        const counts = record.confirms !== null && record.verdict.kind === 'infeasible';
        if (counts) this.#refuted.set(key, (this.#refuted.get(key) ?? 0) + 1);
        return [];
      }
      if (known === undefined) {
        this.#scored.set(key, [record]);
        return [{ key, isNew: true }];
      }
      known.push(record);
      return [{ key, isNew: false }];
    });
  }

  candidate(key: string): Candidate {
    const measurements = need(this.#scored.get(key), 'measurement');
    const refuted = this.#refuted.get(key) ?? 0;
    const [only, ...more] = measurements;
    if (more.length > 0 || refuted > 0) return candidateOf(measurements, refuted, this.#slos);
    const known = singles.get(only);
    if (known?.slos === this.#slos) return known.candidate;
    const candidate = candidateOf([only], 0, this.#slos);
    singles.set(only, { slos: this.#slos, candidate });
    return candidate;
  }

  get candidates(): Candidate[] {
    return [...this.#scored.keys()].map((key) => this.candidate(key));
  }
}

/** Every configuration that was measured, in the order of its first measurement. */
export function candidates(records: readonly TrialRecord[], slos: FitnessSettings): Candidate[] {
  const measurements = new Measurements(slos);
  for (const record of records) measurements.add(record);
  return measurements.candidates;
}

/** Whether it holds when it is measured again, as far as that was tried. */
const stands = ({ refuted, confirmations }: Candidate): boolean =>
  refuted === 0 || refuted < confirmations.length;

/** By its first measurement alone. */
const promise = ({ record: { verdict } }: Candidate, { objective }: FitnessSettings): number =>
  worth({ performance: judgedOf(verdict), fitness: verdict.fitness, violations: [] }, objective);

/**
 * Whether confirmations decide: not before all that promised as much as those that were confirmed have had their turn, or
 * an interruption would recommend whoever came first.
 */
function isDecided(all: readonly Candidate[], slos: FitnessSettings): boolean {
  const others = all.filter(({ record }) => !isPresent(record));
  const tried = ({ confirmations, refuted }: Candidate): boolean => confirmations.length + refuted > 0;
  const promises = others.filter(tried).map((one) => promise(one, slos));
  const least = promises.length === 0 ? -Infinity : Math.min(...promises);
  const isWithin = ({ record }: Candidate): boolean => record.verdict.violations.length === 0;
  return !others.some((one) => !tried(one) && isWithin(one) && promise(one, slos) > least);
}

/**
 * The recommended one: within the SLOs, and best by the objective; of those that were confirmed, where one of them is
 * within the SLOs.
 */
export const bestOf = (records: readonly TrialRecord[], slos: FitnessSettings): Candidate | undefined =>
  bestAmong(candidates(records, slos), slos);

function bestAmong(all: readonly Candidate[], slos: FitnessSettings): Candidate | undefined {
  const standing = all.filter(stands);
  const confirmed = standing.filter(({ confirmations }) => confirmations.length > 0);
  return (
    (isDecided(all, slos) ? recommend(confirmed, slos.objective) : undefined) ??
    recommend(standing, slos.objective)
  );
}

/** The recommended one while a study goes on: a look at all that was measured for each new one would grow with the square. */
export class BestSoFar {
  readonly #slos: FitnessSettings;
  readonly #measurements: Measurements;
  #isConfirmed = false;
  #best: Candidate | undefined;

  constructor(told: readonly TrialRecord[], slos: FitnessSettings) {
    this.#slos = slos;
    this.#measurements = new Measurements(slos);
    for (const record of told) this.told(record);
  }

  /** @returns the best one now */
  told(record: TrialRecord): Candidate | undefined {
    const measured = this.#measurements.add(record);
    this.#isConfirmed ||= record.confirms !== null;
    // While each has one measurement: the best of before, or what is new.
    const isSimple = !this.#isConfirmed && measured.every(({ isNew }) => isNew);
    const before = this.#best === undefined ? [] : [this.#best];
    const few = [...before, ...measured.map(({ key }) => this.#measurements.candidate(key))];
    this.#best = bestAmong(isSimple ? few : this.#measurements.candidates, this.#slos);
    return this.#best;
  }
}

/** The one that misses its SLOs by the least. */
export function closestOf(records: readonly TrialRecord[], slos: FitnessSettings): Candidate | undefined {
  const all = candidates(records, slos);
  // What cannot be served again is near to nothing.
  return closest(all.filter(stands), slos.objective) ?? closest(all, slos.objective);
}
