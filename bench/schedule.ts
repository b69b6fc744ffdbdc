import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { registry, runStudy } from '../src/compose.ts';
import { never } from '../src/base/cancellation.ts';
import { EventBus } from '../src/base/events.ts';
import { simulatedStudy } from '../src/cli/demo-study.ts';
import { resolveSettings } from '../src/config/settings.ts';
import type { JournalEntry } from '../src/parallel/records.ts';
import { listSchedule } from './list-schedule.ts';
import { pairs } from './studies.ts';

/**
 * The schedule of `--simulate` on many groups against greedy list scheduling of exactly the durations that its trials
 * had: start and benchmark, in the order in which they were asked.
 */

export interface Schedule {
  readonly groups: number;
  readonly evaluations: number;
  readonly makespan_s: number;
  readonly ideal_s: number;
  readonly ratio: number;
  readonly utilization: number | null;
}

async function measure(groups: number, evaluations: number, seed: number): Promise<Schedule> {
  const output = mkdtempSync(join(tmpdir(), 'optimizer-schedule-'));
  const particles = Math.min(200, 2 * groups);
  const input = {
    document: {
      values: {
        ...simulatedStudy,
        output,
        n_particles: particles,
        iters: Math.ceil(evaluations / particles),
        confirm_runs: 0,
        parallel: { groups: 'trust' },
        simulate: { noise: 0.05 },
      },
      origin: {},
      files: [],
    },
    flags: { simulate: true, seed },
    hosts: pairs(groups),
  };
  const settings = resolveSettings(input, registry);
  const { summary, paths } = await runStudy({ settings, input, events: new EventBus() }, never);
  const entries = readFileSync(paths.journal, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as JournalEntry);
  rmSync(output, { recursive: true, force: true });
  const records = entries
    .flatMap((entry) => (entry.type === 'told' && entry.record.reused_from === null ? [entry.record] : []))
    .sort((a, b) => a.trial_id - b.trial_id);
  const jobs = records.map(({ start_s, benchmark_s }) => start_s + benchmark_s);
  const starts = records.map(({ started_at }) => Date.parse(started_at));
  const ends = records.map(({ finished_at }) => Date.parse(finished_at));
  const makespan = (Math.max(...ends) - Math.min(...starts)) / 1000;
  const { makespan: ideal } = listSchedule(jobs, groups);
  return {
    groups,
    evaluations: records.length,
    makespan_s: makespan,
    ideal_s: ideal,
    ratio: makespan / ideal,
    utilization: summary.utilization,
  };
}

export async function schedule(short: boolean): Promise<Schedule[]> {
  const seeds = short ? [1] : [1, 2, 3];
  const results: Schedule[] = [];
  for (const seed of seeds) {
    results.push(await measure(16, 400, seed));
    if (!short) results.push(await measure(64, 1000, seed));
  }
  return results;
}
