import { median } from 'simple-statistics';
import type { Candidate } from '../parallel/candidates.ts';
import { isScored, type TrialRecord, type Traits } from '../parallel/records.ts';

/** Whether numbers compare what they seem to compare. */

/** Greedy answers of the recommended configuration against those of the present one. */
export interface Canary {
  readonly prompts: number;
  /** Share of equal answers. */
  readonly agreement: number;
  /** Share of answers that the present configuration gives alike when it is asked again; null where it was not. */
  readonly usual: number | null;
}

/** By how much a share may differ before it is told. */
const tolerance = 0.05;
/** Of answers, below what is usual. */
const canaryTolerance = 0.15;

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

function middleOf(all: readonly Traits[], trait: keyof Traits): number | undefined {
  const values = all.flatMap((one) => one[trait] ?? []);
  return values.length === 0 ? undefined : median(values);
}

/** A service that was installed anew between two measurements makes them two studies. */
function otherVersions(mine: string | undefined, told: readonly TrialRecord[]): string[] {
  const all = new Set(told.filter(isScored).flatMap(({ verdict }) => verdict.engine_version ?? []));
  if (mine === undefined) return [];
  const others = [...all].filter((version) => version !== mine);
  return others.length === 0
    ? []
    : [
        `measured with version ${mine} of the engine, others with ${others.join(' and ')}: they do not compare`,
      ];
}

/** What differs from the other measurements of the study so much that throughput and latency do not compare. */
export function unlikeSiblings({ record }: Candidate, told: readonly TrialRecord[]): string[] {
  const mine = record.verdict.traits;
  const others = told.filter(isScored).flatMap(({ verdict }) => verdict.traits ?? []);
  const versions = otherVersions(record.verdict.engine_version, told);
  if (mine === undefined) return versions;
  const differs = (
    trait: keyof Traits,
    text: (mine: number, usual: number) => string,
    relative = false,
  ): string[] => {
    const [value, usual] = [mine[trait], middleOf(others, trait)];
    if (value === undefined || usual === undefined) return [];
    const difference = Math.abs(value - usual) / (relative ? Math.max(usual, 1e-9) : 1);
    return difference > tolerance ? [text(value, usual)] : [];
  };
  return [
    ...versions,
    ...differs(
      'output_tokens',
      (a, b) => `answers have ${a.toFixed(0)} tokens, usual are ${b.toFixed(0)}: another workload`,
      true,
    ),
    ...differs(
      'length_share',
      (a, b) => `${percent(a)} of the answers end at their limit, usual are ${percent(b)}`,
    ),
    ...differs(
      'prefix_cache_hit_ratio',
      (a, b) => `prefix cache hits of ${percent(a)}, usual are ${percent(b)}`,
    ),
  ];
}

function agreementOf(a: readonly string[], b: readonly string[]): number {
  return a.filter((answer, index) => answer === b[index]).length / a.length;
}

const canaries = ({ confirmations }: Candidate): (readonly string[])[] =>
  confirmations.flatMap(({ verdict }) => (verdict.canary === undefined ? [] : [verdict.canary]));

/** undefined where one of them was not asked. */
export function canaryOf(best: Candidate, baseline: Candidate): Canary | undefined {
  const [mine, theirs] = [canaries(best), canaries(baseline)];
  const [first, ...again] = theirs;
  if (first === undefined || mine.length === 0) return undefined;
  const shares = mine.flatMap((a) => theirs.map((b) => agreementOf(a, b)));
  return {
    prompts: first.length,
    agreement: median(shares),
    usual: again.length === 0 ? null : median(again.map((one) => agreementOf(first, one))),
  };
}

export function canaryFlags({ prompts, agreement, usual }: Canary): string[] {
  if (agreement >= (usual ?? 1) - canaryTolerance) return [];
  const told = usual === null ? '' : `; the present configuration agrees with itself on ${percent(usual)}`;
  return [
    `its greedy answers to ${prompts} questions agree with the present configuration's on ${percent(agreement)}${told}: check the quality of its answers`,
  ];
}
