import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from 'simple-statistics';
import type { JournalEntry } from '../src/parallel/records.ts';
import { realSshd } from '../test/support/sshd.ts';
import { bareStudy } from './bare-study.ts';
import { hostsOf, sleepStudy } from './sleep-study.ts';

/**
 * The tool's own cost of an evaluation over one real sshd: services that are up at once, benchmarks of no length. And how
 * late it notices a service that comes up when its start script has long returned.
 */

interface Row {
  readonly case: string;
  readonly evaluations: number;
  readonly wall_ms: number | null;
  readonly start_ms: number | null;
  readonly benchmark_ms: number | null;
  /** Stopping with proof, the journal, and finding the next one. */
  readonly rest_ms: number | null;
  readonly late_ms: number | null;
  readonly of_start: number | null;
}

const none = {
  wall_ms: null,
  start_ms: null,
  benchmark_ms: null,
  rest_ms: null,
  late_ms: null,
  of_start: null,
};

const recordsIn = (journal: string) =>
  journal
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as JournalEntry)
    .flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));

export async function overhead(short: boolean): Promise<Row[]> {
  await using cluster = await realSshd.start(1);
  const hosts = hostsOf(cluster);
  const rows: Row[] = [];
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-overhead-'));
  for (const round of short ? [1] : [1, 2, 3]) {
    const evaluations = short ? 60 : 150;
    const study = { hosts, groups: 1, evaluations, startSeconds: 0, benchmarkSeconds: 0, seed: undefined };
    const result = await sleepStudy({
      ...study,
      onJournal: (text) => writeFileSync(join(directory, 'j'), text),
    });
    const records = recordsIn(readFileSync(join(directory, 'j'), 'utf8'));
    const [start, benchmark] = (['start_s', 'benchmark_s'] as const).map(
      (key) => 1000 * median(records.map((record) => record[key])),
    ) as [number, number];
    const wall = (1000 * result.makespan_s) / evaluations;
    const bare = await bareStudy(study);
    rows.push({
      ...none,
      case: `two bare commands, round ${round}`,
      evaluations,
      wall_ms: (1000 * bare.makespan_s) / evaluations,
    });
    rows.push({
      ...none,
      case: `nothing to wait for, round ${round}`,
      evaluations,
      wall_ms: wall,
      start_ms: start,
      benchmark_ms: benchmark,
      rest_ms: wall - start - benchmark,
    });
  }
  for (const startSeconds of short ? [0.2, 2] : [0.2, 1, 5, 20]) {
    const evaluations = short ? 4 : 6;
    const late: number[] = [];
    await sleepStudy({
      ...{ hosts, groups: 1, evaluations, startSeconds, benchmarkSeconds: 0, seed: undefined },
      returnsAtOnce: true,
      onBenchmark: (ready) => late.push(Date.now() - statSync(ready).mtimeMs),
    });
    rows.push({
      ...none,
      case: `up ${startSeconds} s after its script returned`,
      evaluations,
      late_ms: Math.max(...late),
      of_start: Math.max(...late) / (1000 * startSeconds),
    });
  }
  rmSync(directory, { recursive: true });
  return rows;
}
