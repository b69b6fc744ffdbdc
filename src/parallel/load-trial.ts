import { ConfigurationError, ModelEvalStateError } from '../base/errors.ts';
import type { FitnessSettings, Objective } from '../core/fitness/fitness.ts';
import { worth } from '../core/fitness/recommend.ts';
import { LoadSearch } from '../core/load/load-search.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import { better, limitOf, type Incumbent, type Limit } from './incumbent.ts';
import type { Measurement } from './measuring.ts';
import { judgedOf, type LoadPoint } from './records.ts';

/** How the load of a configuration is found. */
export interface LoadSearchSettings {
  readonly fields: readonly Field[];
  /** Benchmarks a configuration, at most. */
  readonly probes: number;
  readonly slos: FitnessSettings;
  readonly incumbent: Incumbent;
  readonly isAllowed: (params: ServingParams) => boolean;
}

/** Whether a load was too much, as against broken machines and tools. */
export const isOfLoad = (error: unknown): error is ModelEvalStateError =>
  error instanceof ModelEvalStateError && (error.blame === 'load' || error.blame === 'params');

const noLoad = (): ModelEvalStateError =>
  new ConfigurationError(
    'the constraints allow no load for this configuration',
    {},
    { blame: 'params', remedy: 'Nothing is wrong: the search asks elsewhere.' },
  );

/** The loads that one configuration is measured at, on as few starts as possible. */
export class LoadTrial {
  readonly #suggestion: Suggestion;
  readonly #search: LoadSearch;
  readonly #measured: { readonly params: ServingParams; readonly measurement: Measurement }[] = [];
  readonly #curve: LoadPoint[] = [];
  readonly #isCurrent: boolean;
  readonly #fields: readonly Field[];
  readonly #objective: Objective | undefined;
  #error: ModelEvalStateError | undefined;

  constructor(suggestion: Suggestion, { fields, probes, slos, incumbent, isAllowed }: LoadSearchSettings) {
    this.#suggestion = suggestion;
    this.#fields = fields;
    this.#objective = slos.objective;
    this.#isCurrent = suggestion.origin === 'current';
    this.#search = new LoadSearch({
      fields,
      probes,
      slos,
      start: (this.#isCurrent ? undefined : incumbent.params) ?? suggestion.params,
      incumbent: incumbent.fitness,
      // What runs today is measured at today's load, whatever is thought of it.
      isAllowed: (load) =>
        (this.#isCurrent && this.#curve.length === 0) || isAllowed({ ...suggestion.params, ...load }),
    });
  }

  /** The configuration at the next load; undefined: the load is found. */
  next(): ServingParams | undefined {
    const load = this.#search.next();
    // What runs today is measured as it is, also where its load lies outside of the bounds.
    const isPresent = this.#isCurrent && this.#curve.length === 0;
    return load && (isPresent ? this.#suggestion.params : { ...this.#suggestion.params, ...load });
  }

  /** What the present configuration does at its own load, once that is measured. */
  get asIs(): Measurement | undefined {
    return this.#isCurrent && this.#curve[0]?.error === null ? this.#measured[0]?.measurement : undefined;
  }

  /** The best of its loads so far, within the SLOs. */
  get limit(): Limit | undefined {
    return this.#measured
      .map(({ measurement }) => measurement.verdict)
      .filter(({ violations, censored }) => violations.length === 0 && censored !== true)
      .map(limitOf)
      .reduce<Limit | undefined>(better, undefined);
  }

  measured(params: ServingParams, measurement: Measurement): void {
    const { fitness, performance, violations } = measurement.verdict;
    // Of the speed term: what this measurement was judged by may follow from the present configuration.
    const target = (measurement.verdict.terms.generate_speed * (performance.generate_speed ?? 0)) / 0.4;
    this.#search.tell({
      kind: 'measured',
      fitness,
      performance: judgedOf(measurement.verdict),
      violations,
      isBound: measurement.verdict.censored === true,
      ...(Number.isFinite(target) && target > 0 ? { target } : {}),
    });
    this.#measured.push({ params, measurement });
    const isBound = measurement.verdict.censored === true;
    const feasible = violations.length === 0 && !isBound;
    const bound = isBound ? { censored: true as const } : {};
    this.#curve.push({ load: this.#loadOf(params), performance, fitness, feasible, error: null, ...bound });
  }

  failed(params: ServingParams, error: ModelEvalStateError): void {
    this.#search.tell({ kind: 'failed' });
    this.#error = error;
    this.#curve.push({
      load: this.#loadOf(params),
      performance: null,
      fitness: null,
      feasible: false,
      error: error.message,
    });
  }

  get hasResult(): boolean {
    return this.#measured.length > 0;
  }

  /** @throws why nothing could be measured */
  result(): Measurement {
    const best = this.#search.best;
    const chosen = best && this.#measured[best.index];
    if (chosen === undefined) throw this.#error ?? noLoad();
    const { asIs } = this;
    const fastest = this.#fastest(chosen.measurement);
    const present = asIs === undefined ? null : { params: this.#suggestion.params, verdict: asIs.verdict };
    return {
      ...chosen.measurement,
      params: chosen.params,
      curve: this.#curve,
      ...(this.#isCurrent ? { asIs: present } : {}),
      ...(fastest === undefined ? {} : { fastest }),
    };
  }

  /** Least cost is what the swarm goes by; the answer is what the objective says. */
  #fastest(chosen: Measurement): Measurement['fastest'] {
    const of = ({ verdict }: Measurement): number =>
      worth({ ...limitOf(verdict), violations: [] }, this.#objective);
    const [best] = this.#measured
      .filter(({ measurement: { verdict } }) => verdict.violations.length === 0 && verdict.censored !== true)
      .sort((a, b) => of(b.measurement) - of(a.measurement));
    return best === undefined || best.measurement === chosen || of(best.measurement) <= of(chosen)
      ? undefined
      : { params: best.params, verdict: best.measurement.verdict };
  }

  #loadOf(params: ServingParams): ServingParams {
    const names = this.#fields.map(({ name }) => name);
    return Object.fromEntries(Object.entries(params).filter(([name]) => names.includes(name)));
  }
}
