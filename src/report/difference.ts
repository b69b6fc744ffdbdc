import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { paramsKey } from '../core/space/space.ts';
import { pooledNoise, probabilityAbove } from '../core/trust/trust.ts';
import { bestOf, candidates, type Candidate } from '../parallel/candidates.ts';
import type { TrialRecord } from '../parallel/records.ts';

/** What differs between two runs, and whether the second is worse. */

export interface RunFacts {
  readonly told: readonly TrialRecord[];
  readonly slos: FitnessSettings;
  /** Settings by dotted key. */
  readonly settings: Readonly<Record<string, string>>;
  /** What was searched: fields by name, and rules; undefined where it cannot be told any more. */
  readonly space: Readonly<Record<string, string>> | undefined;
  readonly setup: string | undefined;
}

export interface Pair {
  readonly trials: readonly [number, number];
  readonly params: Readonly<Record<string, unknown>>;
  /** Means, output tokens/s, and how many measurements there are of each. */
  readonly speeds: readonly [number, number];
  readonly counts: readonly [number, number];
  /** That the second is truly slower; null where nothing says how far measurements scatter. */
  readonly slower: number | null;
}

export interface Changed {
  readonly key: string;
  readonly values: readonly [string?, string?];
}

export interface Difference {
  /** Settings that are not the same: undefined where one of them has none. */
  readonly settings: readonly Changed[];
  /** Of the search spaces; null where one of them is not known. */
  readonly space: readonly Changed[] | null;
  readonly same_setup: boolean;
  /** The recommended configurations; null where one run has none. */
  readonly best: (Pair & { readonly params_of_second: Readonly<Record<string, unknown>> }) | null;
  /** Configurations that both measured. */
  readonly common: readonly Pair[];
  /** Significantly slower, or without a configuration within the SLOs where the first has one. */
  readonly verdict: 'worse' | 'not worse' | 'unknown';
  readonly why: string;
}

/** From here on it is no chance any more. */
const significant = 0.95;

/** What counts of a configuration's measurements, as in the answer of a run. */
function speedsOf({ confirmations, measurements }: Candidate): number[] {
  const counted = confirmations.length > 0 ? confirmations : measurements;
  return counted
    .flatMap(({ verdict }) => verdict.performance.generate_speed ?? [])
    .filter((speed) => speed > 0);
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;

function changed(a: RunFacts['settings'], b: RunFacts['settings']): Changed[] {
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
  return keys.flatMap((key) =>
    a[key] === b[key] ? [] : [{ key, values: [a[key], b[key]] as [string?, string?] }],
  );
}

function verdictOf(
  [bestA, bestB]: readonly [Candidate | undefined, Candidate | undefined],
  best: Difference['best'],
): Pick<Difference, 'verdict' | 'why'> {
  if (bestA === undefined)
    return { verdict: 'unknown', why: 'the first run has no configuration within its SLOs' };
  if (bestB === undefined)
    return {
      verdict: 'worse',
      why: 'the second run has no configuration within its SLOs, the first has one',
    };
  if (best === null) return { verdict: 'unknown', why: 'throughput was not measured' };
  if (best.slower === null)
    return {
      verdict: 'unknown',
      why: 'nothing was measured twice, so that chance cannot be told from change',
    };
  const change = 100 * (best.speeds[1] / best.speeds[0] - 1);
  const text = `the second is ${Math.abs(change).toFixed(1)} % ${change < 0 ? 'slower' : 'faster'}; the probability that it is truly slower is ${(100 * best.slower).toFixed(1)} %`;
  return { verdict: best.slower >= significant ? 'worse' : 'not worse', why: text };
}

export function differenceOf(a: RunFacts, b: RunFacts): Difference {
  const [ofA, ofB] = [candidates(a.told, a.slos), candidates(b.told, b.slos)];
  const noise = pooledNoise(
    [...ofA, ...ofB].map(({ confirmations }) =>
      confirmations
        .flatMap(({ verdict }) => verdict.performance.generate_speed ?? [])
        .filter((one) => one > 0),
    ),
  );
  const pairOf = (first: Candidate, second: Candidate): Pair | undefined => {
    const [x, y] = [speedsOf(first), speedsOf(second)];
    if (x.length === 0 || y.length === 0) return undefined;
    return {
      trials: [first.record.trial_id, second.record.trial_id],
      params: first.record.params,
      speeds: [mean(x), mean(y)],
      counts: [x.length, y.length],
      slower: noise === undefined ? null : probabilityAbove(x, y, noise),
    };
  };
  const byKey = new Map(ofB.map((candidate) => [paramsKey(candidate.record.params), candidate]));
  const common = ofA.flatMap((candidate) => {
    const other = byKey.get(paramsKey(candidate.record.params));
    return (other && pairOf(candidate, other)) ?? [];
  });
  const [bestA, bestB] = [bestOf(a.told, a.slos), bestOf(b.told, b.slos)];
  const pair = bestA && bestB && pairOf(bestA, bestB);
  const best = pair === undefined ? null : { ...pair, params_of_second: bestB?.record.params ?? {} };
  return {
    settings: changed(a.settings, b.settings),
    space: a.space && b.space ? changed(a.space, b.space) : null,
    same_setup: a.setup !== undefined && a.setup === b.setup,
    best,
    common,
    ...verdictOf([bestA, bestB], best),
  };
}
