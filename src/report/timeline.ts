import type { JournalEntry } from '../parallel/records.ts';

/** What a group did, for a chart of time. Seconds since the run began. */
export interface Span {
  readonly group: number;
  readonly kind: 'start' | 'benchmark' | 'failed' | 'quarantined';
  readonly from_s: number;
  readonly to_s: number;
  readonly trial: number | null;
}

const round = (seconds: number): number => Math.round(seconds * 100) / 100;

/** Nothing overlaps on a group; what is between two spans was idle. */
export function spansOf(entries: readonly JournalEntry[], began: number): Span[] {
  const since = (at: string): number => (Date.parse(at) - began) / 1000;
  const spans: Span[] = [];
  const add = (span: Omit<Span, 'from_s' | 'to_s'>, from: number, to: number): void => {
    if (to > from) spans.push({ ...span, from_s: round(Math.max(0, from)), to_s: round(to) });
  };
  const opened = new Map<number, number>();
  for (const entry of entries) {
    switch (entry.type) {
      case 'told': {
        const { record } = entry;
        if (record.group_id === null || record.reused_from !== null) break;
        const one = { group: record.group_id, trial: record.trial_id };
        const end = since(record.finished_at);
        const benchmark = end - record.benchmark_s;
        // Without a verdict on its speed the time was spent for nothing.
        const [starting, loading] =
          record.verdict.kind === 'scored'
            ? (['start', 'benchmark'] as const)
            : (['failed', 'failed'] as const);
        add({ ...one, kind: starting }, benchmark - record.start_s, benchmark);
        add({ ...one, kind: loading }, benchmark, end);
        break;
      }
      case 'attempt-failed': {
        const end = since(entry.at);
        add({ group: entry.group_id, trial: entry.trial_id, kind: 'failed' }, end - entry.busy_s, end);
        break;
      }
      case 'circuit': {
        const from = opened.get(entry.group_id);
        if (entry.state === 'open') opened.set(entry.group_id, from ?? since(entry.at));
        else if (from !== undefined && entry.state === 'closed') {
          add({ group: entry.group_id, trial: null, kind: 'quarantined' }, from, since(entry.at));
          opened.delete(entry.group_id);
        }
        break;
      }
      default:
        break;
    }
  }
  const last = entries.at(-1);
  if (last !== undefined)
    for (const [group, from] of opened)
      add({ group, trial: null, kind: 'quarantined' }, from, since(last.at));
  return spans;
}

export interface DeviceHours {
  /** Accelerators of all groups, from the first start to the end of the last attempt. */
  readonly spent: number;
  /** Of them: groups that waited, and work that came to nothing. */
  readonly idle: number;
  readonly failed: number;
}

/** undefined where the accelerators of a group are not known, or nothing was started. */
export function deviceHours(
  spans: readonly Span[],
  devices: ReadonlyMap<number, number | undefined>,
): DeviceHours | undefined {
  const busy = spans.filter(({ kind }) => kind !== 'quarantined');
  if (busy.length === 0 || [...devices.values()].includes(undefined)) return undefined;
  const from = Math.min(...busy.map(({ from_s }) => from_s));
  const to = Math.max(...busy.map(({ to_s }) => to_s));
  const hours = (some: readonly Span[]): number =>
    some.reduce((sum, { group, from_s, to_s }) => sum + (to_s - from_s) * (devices.get(group) ?? 0), 0) /
    3600;
  const all = [...devices.values()].reduce<number>((sum, count) => sum + (count ?? 0), 0);
  const spent = (all * (to - from)) / 3600;
  const failed = hours(busy.filter(({ kind }) => kind === 'failed'));
  return { spent, idle: Math.max(0, spent - hours(busy)), failed };
}
