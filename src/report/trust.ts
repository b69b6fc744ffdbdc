import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { recommend } from '../core/fitness/recommend.ts';
import { paramsKey } from '../core/space/space.ts';
import {
  pooledNoise,
  probabilityAbove,
  ratioInterval,
  rerunInterval,
  type Interval,
} from '../core/trust/trust.ts';
import { bestOf, candidates, isPresent, type Candidate } from '../parallel/candidates.ts';
import type { ScoredRecord, TrialRecord } from '../parallel/records.ts';

/** How far the answer can be believed; by confirmations alone. */
export interface Trust {
  /** Confirmations of the recommended configuration. */
  readonly runs: number;
  /** Scatter of one measurement, relative: 0.03 is 3 %. */
  readonly noise: number;
  /** Where the mean of as many new measurements of the recommended configuration lies with a probability of 95 %. */
  readonly interval: Interval;
  /** Where its throughput truly is with 95 %, as a factor of the present one's; null where that was not measured again. */
  readonly gain: Interval | null;
  /** That the recommended configuration is truly better; null where there is nothing to compare with. */
  readonly beats_baseline: number | null;
  readonly beats_runner_up: number | null;
  readonly runner_up: number | null;
  /** What a single measurement promised most of, and did not hold. */
  readonly demoted: number | null;
}

/** More is better. */
function valueOf({ verdict }: ScoredRecord, { objective }: FitnessSettings): number {
  if (objective === 'fitness') return 1 / verdict.fitness;
  const value = objective === 'goodput' ? verdict.goodput : verdict.performance.generate_speed;
  return value ?? 0;
}

/** Output tokens/s of what counts. */
const speedsOf = ({ confirmations }: Candidate): number[] =>
  confirmations
    .flatMap(({ verdict }) => verdict.performance.generate_speed ?? [])
    .filter((speed) => speed > 0);

/** undefined: nothing was recommended, or it was not measured again. */
export function trustOf(told: readonly TrialRecord[], slos: FitnessSettings): Trust | undefined {
  const best = bestOf(told, slos);
  if (best === undefined) return undefined;
  const all = candidates(told, slos).filter(({ confirmations }) => confirmations.length > 0);
  const valuesOf = ({ confirmations }: Candidate): number[] =>
    confirmations.map((record) => valueOf(record, slos)).filter((value) => value > 0);
  const mine = valuesOf(best);
  const noise = pooledNoise(all.map(valuesOf));
  if (noise === undefined || mine.length === 0) return undefined;
  const id = ({ record }: Candidate): number => record.trial_id;
  const same = (a: Candidate, b: Candidate): boolean =>
    paramsKey(a.record.params) === paramsKey(b.record.params);
  const others = all.filter((one) => !same(one, best));
  const baseline = others.find(({ record }) => isPresent(record));
  const runnerUp = recommend(
    others.filter((one) => one !== baseline),
    slos.objective,
  );
  const promised = recommend(
    candidates(
      told.filter(({ confirms }) => confirms === null),
      slos,
    ),
    slos.objective,
  );
  const beats = (other: Candidate | undefined): number | null => {
    const theirs = other === undefined ? [] : valuesOf(other);
    return theirs.length === 0 ? null : probabilityAbove(mine, theirs, noise);
  };
  const speedNoise = pooledNoise(all.map(speedsOf));
  const gainOver = (other: Candidate | undefined): Interval | null => {
    const [ours, theirs] = [speedsOf(best), other === undefined ? [] : speedsOf(other)];
    if (ours.length === 0 || theirs.length === 0 || speedNoise === undefined) return null;
    return ratioInterval(ours, theirs, speedNoise);
  };
  return {
    runs: mine.length,
    noise: noise.sd,
    interval: rerunInterval(mine, noise),
    gain: gainOver(baseline),
    beats_baseline: beats(baseline),
    beats_runner_up: beats(runnerUp),
    runner_up: runnerUp === undefined ? null : id(runnerUp),
    demoted: promised === undefined || same(promised, best) ? null : id(promised),
  };
}
