import { median } from 'simple-statistics';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { spareOf } from '../core/fitness/slo.ts';
import { paramsKey } from '../core/space/space.ts';
import { isScored, toldIn, type JournalEntry, type ScoredRecord, type Traits } from '../parallel/records.ts';
import { groupsIn } from './group-summary.ts';
import { failuresOf } from './findings.ts';
import type { Summary, TrialSummary } from './summary.ts';

/** What the answer rests on, in a line each. */

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

function measurementsOf(trial: TrialSummary | null, entries: readonly JournalEntry[]): ScoredRecord[] {
  if (trial === null) return [];
  const key = paramsKey(trial.params);
  return toldIn(entries)
    .filter(isScored)
    .filter(({ params, reused_from }) => reused_from === null && paramsKey(params) === key);
}

function middle(
  records: readonly ScoredRecord[],
  of: (traits: Traits) => number | undefined,
): number | undefined {
  const values = records.flatMap(({ verdict }) => (verdict.traits && of(verdict.traits)) ?? []);
  return values.length === 0 ? undefined : median(values);
}

/** The recommended configuration's, and the present one's in brackets. */
function workload(best: readonly ScoredRecord[], baseline: readonly ScoredRecord[]): string[] {
  const both = (
    of: (traits: Traits) => number | undefined,
    text: (value: number) => string,
  ): string | undefined => {
    const [mine, theirs] = [middle(best, of), middle(baseline, of)];
    if (mine === undefined) return undefined;
    return `${text(mine)}${theirs === undefined ? '' : ` (present: ${text(theirs)})`}`;
  };
  const tokens = both(
    ({ output_tokens: count }) => count,
    (count) => count.toFixed(0),
  );
  const hits = both(({ prefix_cache_hit_ratio: share }) => share, percent);
  return [
    ...(tokens === undefined ? [] : [`output tokens a request: ${tokens}`]),
    ...(hits === undefined ? [] : [`prefix cache hits: ${hits}`]),
  ];
}

/** Groups that serve the present configuration at another speed than the one that they are compared with. */
function unequalGroups(entries: readonly JournalEntry[]): string[] {
  const compared = entries.findLast((entry) => entry.type === 'groups-compared');
  const speeds = new Map(
    entries.flatMap((entry) =>
      entry.type === 'group-measured'
        ? [[entry.group_id, entry.performance?.generate_speed ?? entry.performance?.throughput ?? null]]
        : [],
    ),
  );
  const usual = compared && speeds.get(compared.reference);
  if (compared === undefined || !usual) return [];
  const scaled = new Set(
    toldIn(entries)
      .filter(isScored)
      .flatMap(({ verdict, group_id }) => (verdict.raw_performance === undefined ? [] : [group_id])),
  );
  const others = [...speeds].flatMap(([id, speed]) => {
    const share = speed === null ? NaN : speed / usual;
    if (!(Math.abs(share - 1) > 0.1) && !scaled.has(id)) return [];
    const so = scaled.has(id) ? ', its numbers are scaled by that' : '';
    return [`group ${id} at ${share.toFixed(2)} ×${so}`];
  });
  return others.length === 0
    ? []
    : [
        `Groups are unequal: of group ${compared.reference}'s speed with the present configuration, ${others.join('; ')}.`,
      ];
}

/** Two services on a host take bandwidth, caches and cores from each other. */
function sharedHosts(entries: readonly JournalEntry[]): string[] {
  const owners = new Map<string, Set<number>>();
  for (const { group_id: id, hosts } of groupsIn(entries)) {
    for (const host of hosts) owners.set(host, (owners.get(host) ?? new Set()).add(id));
  }
  const isShared = [...owners.values()].some((ids) => ids.size > 1);
  return isShared
    ? [
        'Groups share hosts: their measurements are not independent, and a service that has its host for itself may do better.',
      ]
    : [];
}

export function evidenceLines(
  entries: readonly JournalEntry[],
  summary: Summary,
  slos: FitnessSettings,
): string[] {
  const { best, baseline } = summary;
  const run = entries.find((entry) => entry.type === 'run-started');
  const [mine, theirs] = [measurementsOf(best, entries), measurementsOf(baseline, entries)];
  const spare = best === null ? undefined : spareOf(best.performance, slos);
  const requests = mine.flatMap(({ num_prompts: count }) => count ?? []);
  const facts = [
    ...(requests.length === 0 ? [] : [`${median(requests).toFixed(0)} requests a measurement`]),
    ...workload(mine, theirs),
  ];
  const blames = new Map<string, number>();
  for (const { blame, count } of failuresOf(entries)) blames.set(blame, (blames.get(blame) ?? 0) + count);
  const failed = [...blames].map(([blame, count]) => `${count} by ${blame}`);
  const isSameModel =
    best !== null && run?.changes_numerics !== undefined && best.changes_numerics.length === 0;
  return [
    ...(spare === undefined ? [] : [`Nearest to its SLO: ${spare.slo}, ${percent(spare.share)} to spare.`]),
    ...(facts.length === 0 ? [] : [`${facts.join(', ')}.`]),
    ...(isSameModel
      ? ['No parameter that changes what the model computes differs from the present ones.']
      : []),
    ...sharedHosts(entries),
    ...unequalGroups(entries),
    ...(failed.length === 0 ? [] : [`Failures: ${failed.join(', ')}.`]),
  ];
}
