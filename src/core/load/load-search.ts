import { cost, type FitnessSettings, type Judged } from '../fitness/fitness.ts';
import { distance, type Violation } from '../fitness/slo.ts';
import { enumValues, valueBounds, type Field, type ParamValue, type ServingParams } from '../space/field.ts';
import { paramsKey } from '../space/space.ts';
import { isRequestRate, loadValue } from '../tuning/load-fields.ts';

/** What a load came to: measured, or more than the configuration can serve. */
export type LoadOutcome =
  | {
      readonly kind: 'measured';
      readonly fitness: number;
      readonly performance: Judged;
      readonly violations: readonly Violation[];
      /** It was ended early: what it could have come to at best. */
      readonly isBound?: boolean;
      /** Tokens/s that its cost aims at, where that is not the settings'. */
      readonly target?: number;
    }
  | { readonly kind: 'failed' }
  /** A rule of the study forbids it: nothing was measured. */
  | { readonly kind: 'refused' };

export interface LoadSearchOptions {
  /** Whose values are the load: concurrency, request rate or both. */
  readonly fields: readonly Field[];
  /** The load to begin with: the incumbent's, or that of the present configuration. */
  readonly start: ServingParams;
  /** Benchmarks at most. */
  readonly probes: number;
  readonly slos: FitnessSettings;
  /** Cost of the best configuration so far. */
  readonly incumbent?: number | undefined;
  /** Whether the rules of the study allow this load. */
  readonly isAllowed?: (load: ServingParams) => boolean;
}

interface Asked {
  /** Against the start: all loads are multiplied by it. */
  readonly factor: number;
  readonly load: ServingParams;
}

interface Probe extends Asked {
  readonly outcome: LoadOutcome;
}

type Measured = Probe & { readonly outcome: Extract<LoadOutcome, { kind: 'measured' }> };

/** Loads against the rules cost nothing, but there must be an end. */
const mostRefused = 20;
/** Loads that are closer than this tell nothing new. */
const resolution = 1.1;
/** What is worse than the best so far by this much will not become it. */
const hopeless = 1.1;
const smallestGain = 0.01;
/** Arrivals at this share of what was served: evenly spread, and hardly fewer. */
const spread = 0.95;

/** A rate of 0, or none at all, is as fast as possible. */
const isLimit = (value: number): boolean => Number.isFinite(value) && value > 0;

const isMeasured = (probe: Probe): probe is Measured => probe.outcome.kind === 'measured';
const isWithin = (probe: Probe): probe is Measured =>
  isMeasured(probe) && probe.outcome.violations.length === 0;

/**
 * Which load suits a configuration whose service runs: the one with the least cost within the SLOs, by few benchmarks.
 * It doubles while that pays and halves while the SLOs are missed, then bisects in between. What is known of a smaller
 * and a larger load bounds what lies between them: where that cannot pay, nothing is measured. Above a load that failed
 * nothing is tried.
 */
export class LoadSearch {
  readonly #options: LoadSearchOptions;
  readonly #probes: Probe[] = [];
  #asked: Asked | undefined;

  constructor(options: LoadSearchOptions) {
    this.#options = options;
  }

  /** The next load to measure; undefined: it is found. */
  next(): ServingParams | undefined {
    const { probes, isAllowed = () => true } = this.#options;
    const tried = (): number => this.#probes.filter(({ outcome }) => outcome.kind !== 'refused').length;
    while (tried() < probes && this.#probes.length < probes + mostRefused) {
      const asked = this.#wanted().find(({ load }) => !this.#knows(load));
      if (asked === undefined) return undefined;
      this.#asked = asked;
      if (isAllowed(asked.load)) return asked.load;
      this.tell({ kind: 'refused' });
    }
    return undefined;
  }

  tell(outcome: LoadOutcome): void {
    if (this.#asked === undefined) return;
    this.#probes.push({ ...this.#asked, outcome });
    this.#asked = undefined;
  }

  /** The load that was found, and what was measured there; undefined: none could be served. */
  get best(): { readonly load: ServingParams; readonly index: number } | undefined {
    const best = this.#best(this.#probes.filter(isMeasured));
    return best && { load: best.load, index: this.#probes.filter(isMeasured).indexOf(best) };
  }

  /** Within the SLOs by cost; else the nearest to them. */
  #best(probes: readonly Measured[]): Measured | undefined {
    const [first, ...rest] = probes;
    if (first === undefined) return undefined;
    const missed = ({ outcome }: Measured): number => distance(outcome.violations);
    return rest.reduce((best, one) => {
      const gain = missed(best) - missed(one);
      return gain > 0 || (gain === 0 && one.outcome.fitness < best.outcome.fitness) ? one : best;
    }, first);
  }

  /** What to try, the best idea first. */
  #wanted(): Asked[] {
    const at = (factor: number): Asked => ({ factor, load: this.#loadAt(factor) });
    if (this.#probes.length === 0) return [at(1)];
    const best = this.#best(this.#probes.filter(isWithin));
    if (best === undefined) {
      const lowest = this.#lowest();
      return [at(this.#below(lowest)), ...this.#next(lowest, false)];
    }
    const factor = this.#around(best);
    const nearest = factor === undefined ? [] : [at(factor), ...this.#next(best, factor > best.factor)];
    return [...nearest, ...this.#spread(best)];
  }

  /** The next value of a list or the next whole number, where a factor leads to none that is new. */
  #next({ load, factor }: Asked, upwards: boolean): Asked[] {
    const next = this.#options.fields.map((field) => {
      const now = Number(load[field.name]);
      const { min, max } = valueBounds(field);
      const values = field.dtype === 'enum' ? enumValues(field).map(Number) : [now - 1, now + 1];
      const beyond = values.filter(
        (value) => (upwards ? value > now : value < now) && value >= min && value <= max,
      );
      const isStepped = (field.dtype === 'enum' || field.dtype === 'int') && beyond.length > 0;
      return { field, now, value: isStepped ? (upwards ? Math.min(...beyond) : Math.max(...beyond)) : now };
    });
    const changed = next.find(({ now, value }) => now !== value && now > 0);
    if (changed === undefined) return [];
    const values = Object.fromEntries(next.map(({ field, value }) => [field.name, value]));
    return [{ factor: (factor * changed.value) / changed.now, load: values }];
  }

  #lowest(): Probe {
    return this.#probes.reduce((least, one) => (one.factor < least.factor ? one : least));
  }

  /** Nothing is within the SLOs yet: the further outside, the further down. */
  #below(lowest: Probe): number {
    if (lowest.outcome.kind === 'refused') return lowest.factor / 2;
    const outside = isMeasured(lowest) ? distance(lowest.outcome.violations) : Infinity;
    return lowest.factor / Math.min(8, Math.max(1.5, 1 + outside));
  }

  /** Next to the best load, where more is to be found; undefined: nowhere. */
  #around(best: Measured): number | undefined {
    const others = [...this.#probes].sort((a, b) => a.factor - b.factor);
    const upper = others.find(({ factor }) => factor > best.factor);
    const lower = others.filter(({ factor }) => factor < best.factor).at(-1);
    if (upper === undefined) return best.factor * 2;
    const above = this.#canPay(best, upper, best) ? upper.factor / best.factor : 1;
    // Below a load that is within the SLOs and worse, the best one may lie to either side.
    const below =
      !isWithin(upper) || (lower !== undefined && !this.#canPay(lower, best, best))
        ? 1
        : best.factor / (lower?.factor ?? best.factor / 2);
    if (Math.max(above, below) <= resolution) return undefined;
    if (above >= below) return Math.sqrt(best.factor * upper.factor);
    return lower === undefined ? best.factor / 2 : Math.sqrt(lower.factor * best.factor);
  }

  /** Between two loads nothing is faster than either, nor sooner than the smaller one. */
  #canPay(lower: Probe, upper: Probe, best: Measured): boolean {
    if (!isMeasured(lower) || !isMeasured(upper) || upper.outcome.isBound === true) return true;
    const { slos: given, incumbent = Infinity } = this.#options;
    const slos = { ...given, generate_speed_target: best.outcome.target ?? given.generate_speed_target };
    const { performance: low } = lower.outcome;
    const { performance: high } = upper.outcome;
    const most = (key: 'generate_speed' | 'success_rate' | 'throughput'): number =>
      Math.max(low[key] ?? 0, high[key] ?? 0);
    const bound = cost(
      {
        ...low,
        generate_speed: most('generate_speed'),
        success_rate: most('success_rate'),
        throughput: most('throughput'),
        goodput: Math.max(low.goodput ?? 0, high.goodput ?? 0),
      },
      slos,
    ).sum;
    return bound < best.outcome.fitness * (1 - smallestGain) && bound < incumbent * hopeless;
  }

  /** Last, where requests come faster than they are served: the same concurrency with arrivals that are spread. */
  #spread(best: Measured): Asked[] {
    const field = this.#options.fields.find(isRequestRate);
    const { throughput } = best.outcome.performance;
    const now = field && Number(best.load[field.name]);
    if (field === undefined || throughput === null) return [];
    const rate = loadValue(field, spread * throughput);
    if (now !== undefined && now > 0 && now <= rate * resolution) return [];
    return [{ factor: best.factor, load: { ...best.load, [field.name]: rate } }];
  }

  #loadAt(factor: number): ServingParams {
    const { fields, start } = this.#options;
    return Object.fromEntries(
      fields.map((field) => {
        const from = Number(start[field.name]);
        if (isRequestRate(field) && !isLimit(from)) return [field.name, this.#rateAt(factor, field)];
        return [field.name, loadValue(field, (isLimit(from) ? from : valueBounds(field).max) * factor)];
      }),
    );
  }

  /** From as fast as possible: it stays so where the concurrency says how much, else it follows what was served. */
  #rateAt(factor: number, field: Field): ParamValue {
    const { fields, start } = this.#options;
    const [first] = this.#probes.filter(isMeasured);
    const served = first?.outcome.performance.throughput ?? valueBounds(field).max;
    const stays = factor >= 1 || fields.some((one) => !isRequestRate(one));
    return stays ? (start[field.name] ?? 0) : loadValue(field, served * factor);
  }

  #knows(load: ServingParams): boolean {
    return this.#probes.some((one) => paramsKey(one.load) === paramsKey(load));
  }
}
