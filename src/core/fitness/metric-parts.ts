import { ConfigValidationError } from '../../base/errors.ts';
import type { Composition } from './composition.ts';

/** What somebody measured, by names of their own. */
export type Metrics = Readonly<Record<string, number>>;

/** Below this metrics are told apart by their differences, above it by their ratios: a millisecond, of seconds. */
const linearBelow = 1e-3;

const partOf = (value: number | undefined): number => Math.asinh((value ?? NaN) / linearBelow);

/** Metrics as the parts of a cost that is a function of them: the same names each time. */
export class MetricParts implements Composition {
  readonly #fitness: (metrics: Metrics) => number;
  #names: readonly string[] | undefined;

  constructor(fitness: (metrics: Metrics) => number) {
    this.#fitness = fitness;
  }

  /** @throws ConfigValidationError naming the metric that is missing, unknown or no number */
  check(metrics: Metrics): void {
    if (typeof metrics !== 'object' || (metrics as unknown) === null || Object.keys(metrics).length === 0)
      throw new ConfigValidationError('metrics', metrics, 'Tell the metrics that the fitness follows from');
    const names = this.#names ?? Object.keys(metrics);
    const odd = [...names, ...Object.keys(metrics)].find(
      (name) => !names.includes(name) || !Number.isFinite(partOf(metrics[name])),
    );
    if (odd === undefined) return;
    throw new ConfigValidationError(
      `metrics.${odd}`,
      metrics[odd],
      `Metrics that a fitness follows from are numbers, and the same ones each time (${names.join(', ')})`,
    );
  }

  /** Of metrics that were checked: from now on it is these. */
  of(metrics: Metrics): readonly number[] {
    this.#names ??= Object.keys(metrics);
    return this.#names.map((name) => partOf(metrics[name]));
  }

  cost(parts: readonly number[]): number {
    const names = this.#names ?? [];
    try {
      return this.#fitness(
        Object.fromEntries(names.map((name, i) => [name, Math.sinh(parts[i] as number) * linearBelow])),
      );
    } catch {
      return NaN; // it was made for what can be measured, not for all that is thinkable
    }
  }
}
