import { weights, type FitnessSettings, type FitnessTerms, type Judged } from './fitness.ts';
import { activeSlos, measuredOf, type Slo, type SloName } from './slo.ts';

/**
 * A cost that follows from parts which are simpler to foresee than it is itself. Parts have no bounds: those that
 * are positive are told by their logarithms.
 */
export interface Composition {
  /** Of the parts, in the order in which they are told. */
  cost(parts: readonly number[]): number;
}

/** A part is null where it is not known. */
export type Parts = readonly (number | null)[];

/** What is shorter is not told apart, and nothing has no logarithm. Seconds. */
const leastLatency = 1e-6;

const isLatency = ({ name, limit }: Slo): boolean => name !== 'success_rate' && limit > 0;

const modelled = (settings: FitnessSettings): readonly Slo[] => activeSlos(settings).filter(isLatency);

/**
 * The logarithms of the throughput's term, of each latency that has an SLO (seconds), and of all other terms together:
 * they change smoothly with a configuration where the cost, exponential beyond an SLO, does not.
 */
export function partsOf(judged: Judged, terms: FitnessTerms, settings: FitnessSettings): Parts {
  const slos = modelled(settings);
  const names: readonly string[] = ['generate_speed', ...slos.map(({ name }) => name)];
  const all = Object.entries<number>({ ...terms });
  const rest = all.reduce((sum, [name, term]) => (names.includes(name) ? sum : sum + term), 0);
  const latencies = slos.map((slo) => {
    const seconds = measuredOf(slo, judged);
    // 0: nothing of it has been seen yet.
    return seconds === null || seconds <= 0 ? NaN : Math.log(Math.max(leastLatency, seconds));
  });
  const parts = [Math.log(terms.generate_speed), ...latencies, Math.log(Math.min(rest, Number.MAX_VALUE))];
  return parts.map((part) => (Number.isFinite(part) ? part : null));
}

/**
 * The formula of the cost (see `cost`) over these parts. undefined: goodput falls to nothing at limits of its own, so
 * that it is no simpler to foresee than its cost.
 */
export function compositionOf(settings: FitnessSettings): Composition | undefined {
  if (settings.objective === 'goodput') return undefined;
  const slos = modelled(settings);
  const sharing = (name: SloName): number => slos.filter((slo) => slo.name === name).length;
  const latencies = slos.map(({ name, limit, penalty }) => ({
    ...{ limit, penalty, weight: weights[name] / sharing(name) },
  }));
  return {
    cost: (parts) =>
      latencies.reduce(
        (sum, { limit, penalty, weight }, index) =>
          sum + weight * Math.exp(penalty * (Math.exp(parts[index + 1] as number) / limit - 1)),
        Math.exp(parts[0] as number) + Math.exp(parts.at(-1) as number),
      ),
  };
}
