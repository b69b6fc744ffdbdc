import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { resolve } from 'node:path';
import { median } from 'simple-statistics';

/**
 * Results of today against stored ones of the short form, as ratios: a regression is seen at a glance. Machines differ
 * and are noisy, so it tells and never fails; how fast this one is at plain arithmetic stands beside it.
 */

type Rows = readonly object[];

/** Columns that say whether a bench is as good as before. */
const guarded: Readonly<Record<string, readonly string[]>> = {
  makespan: ['ratio', 'overhead_ms', 'connect_s'],
  'many-nodes': ['ratio', 'connect_s', 'cpu_cores', 'rss_mb'],
  overhead: ['wall_ms', 'late_ms'],
  startup: ['of_node'],
  'simulation-speed': ['ms_each'],
  growth: ['ms_each', 'rss_mb'],
  'token-rate': ['tokens_s'],
  loadgen: ['tok_s', 'ttft_error_ms'],
  schedule: ['ratio'],
  failures: ['of_good_ones'],
};

interface Stored {
  readonly at: string;
  readonly machine: string;
  readonly yardstick_ms: number;
  readonly rows: Rows;
}

const file = resolve(import.meta.dirname, 'baseline.json');

/** The same work everywhere. */
export function yardstick(): number {
  const once = (): number => {
    const began = performance.now();
    let digest = Buffer.alloc(32);
    for (let i = 0; i < 30_000; i++) digest = createHash('sha256').update(digest).digest();
    return performance.now() - began;
  };
  return median([once(), once(), once()]);
}

function stored(): Record<string, Stored> {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, Stored>) : {};
}

export function save(name: string, rows: Rows, yardstick_ms: number): void {
  const [cpu] = cpus();
  const machine = `${cpus().length} cores, ${cpu?.model ?? 'unknown'}, Node ${process.versions.node}`;
  const all = {
    ...stored(),
    [name]: { at: new Date().toISOString().slice(0, 10), machine, yardstick_ms, rows },
  };
  writeFileSync(file, `${JSON.stringify(all, null, 2)}\n`);
}

/** What distinguishes a row: its words, and how much was done. */
const label = (row: object): string =>
  Object.entries(row)
    .filter(([name, value]) => typeof value === 'string' || ['groups', 'trials', 'streams'].includes(name))
    .map(([, value]) => String(value))
    .join(', ');

/** A line a row that is in both. */
export function againstBaseline(name: string, rows: Rows, yardstick_ms: number): string[] {
  const before = stored()[name];
  const columns = guarded[name];
  if (before === undefined || columns === undefined) return [];
  const pace = yardstick_ms / before.yardstick_ms;
  const lines = rows.flatMap((row) => {
    const known = before.rows.find((one) => label(one) === label(row));
    if (known === undefined) return [];
    const ratios = columns.flatMap((column) => {
      const [now, then] = [row, known].map((one) => (one as Record<string, unknown>)[column]);
      return typeof now === 'number' && typeof then === 'number' && then !== 0
        ? [`${column} × ${(now / then).toFixed(2)}`]
        : [];
    });
    return ratios.length === 0 ? [] : [`  ${label(row)}: ${ratios.join(', ')}`];
  });
  return [`against ${before.at} (plain arithmetic takes × ${pace.toFixed(2)} of then):`, ...lines];
}
