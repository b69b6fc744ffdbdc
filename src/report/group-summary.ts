import { isScored, type GroupRecord, type JournalEntry, type TrialRecord } from '../parallel/records.ts';

export interface GroupSummary {
  readonly group_id: number;
  readonly hosts: readonly string[];
  readonly measured: number;
  readonly failed: number;
  readonly busy_s: number;
  readonly utilization: number | null;
  readonly circuit: 'closed' | 'open' | 'half_open';
}

export const seconds = (from: string, to: string): number => (Date.parse(to) - Date.parse(from)) / 1000;

export type Entry<T extends JournalEntry['type']> = Extract<JournalEntry, { type: T }>;

export function ofType<T extends JournalEntry['type']>(
  entries: readonly JournalEntry[],
  type: T,
): Entry<T>[] {
  return entries.filter((entry): entry is Entry<T> => entry.type === type);
}

/** The groups of the newest session, those that joined it and those that left it as well. */
export function groupsIn(entries: readonly JournalEntry[]): readonly GroupRecord[] {
  const told = entries.findLast(
    ({ type }) => type === 'run-started' || type === 'resumed' || type === 'scaled',
  );
  return told !== undefined && 'groups' in told ? told.groups : [];
}

const beforeBy = (at: string, busy: number): string => new Date(Date.parse(at) - 1000 * busy).toISOString();

/** From the first start to the end of the last attempt. */
export function activeSeconds(entries: readonly JournalEntry[], told: readonly TrialRecord[]): number {
  const starts = [
    ...ofType(entries, 'started').map(({ at }) => at),
    ...ofType(entries, 'group-measured').map(({ at, busy_s }) => beforeBy(at, busy_s)),
  ];
  const ends = [
    ...told.filter((record) => record.reused_from === null).map((record) => record.finished_at),
    ...ofType(entries, 'attempt-failed').map(({ at }) => at),
  ];
  const [first] = starts.sort();
  const last = ends.sort().at(-1);
  return first === undefined || last === undefined ? 0 : Math.max(0, seconds(first, last));
}

export function groupSummaries(
  entries: readonly JournalEntry[],
  told: readonly TrialRecord[],
  active: number,
): GroupSummary[] {
  const attempts = ofType(entries, 'attempt-failed');
  const circuits = ofType(entries, 'circuit');
  const compared = ofType(entries, 'group-measured');
  return groupsIn(entries).map(({ group_id, hosts }) => {
    const here = told.filter((record) => record.group_id === group_id && record.reused_from === null);
    const failures = attempts.filter((attempt) => attempt.group_id === group_id);
    const busy =
      here.reduce((sum, record) => sum + record.start_s + record.benchmark_s, 0) +
      [...failures, ...compared.filter((one) => one.group_id === group_id)].reduce(
        (sum, { busy_s }) => sum + busy_s,
        0,
      );
    return {
      group_id,
      hosts,
      measured: here.filter(isScored).length,
      failed: failures.length,
      busy_s: busy,
      utilization: active > 0 ? busy / active : null,
      circuit: circuits.filter((entry) => entry.group_id === group_id).at(-1)?.state ?? 'closed',
    };
  });
}
