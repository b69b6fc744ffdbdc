import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { median } from 'simple-statistics';
import { never } from '../src/base/cancellation.ts';
import { EventBus } from '../src/base/events.ts';
import { registry, runStudy } from '../src/compose.ts';
import { resolveSettings, type SettingsInput } from '../src/config/settings.ts';
import { isScored, toldIn, type TrialRecord } from '../src/parallel/records.ts';
import { readJournal } from '../src/runs/journal-content.ts';
import { pairs } from './studies.ts';

/**
 * Accelerator-minutes of a study that measured nothing: idle, starting, stopping, hopeless benchmarks, configurations that
 * cannot start. Ours as a simulated study had them, and the original's schedule of the same configurations: batches as
 * large as there are groups, each with a barrier; a start a configuration, seen up to on a grid of 5 s; 300 s
 * until it gives up one that cannot start; every benchmark to its end.
 */

const groups = 4;
const devices = 16;
/** health_check_timeout and the pause between two looks, of the original. */
const original = { gaveUpAfter: 300, grid: 5 } as const;

interface Row {
  readonly schedule: string;
  readonly seed: number;
  readonly evaluations: number;
  readonly infeasible: number;
  readonly makespan_min: number;
  readonly measuring_min: number;
  /** Of accelerators. */
  readonly wasted_min: number;
  readonly wasted_share: number;
}

const inputOf = (seed: number, output: string): SettingsInput => ({
  document: {
    values: {
      ...{ engine: 'emulator', output, n_particles: 10, iters: 10, simulate: { noise: 0.03 } },
      ...{ confirm_runs: 0, load_search: 'fixed', generate_speed_target: 2500 },
      ...{ ttft_slo: 1, tpot_slo: 0.04, tpot_penalty: 2 },
      builtin: { num_prompts: 600, input_len: 192, output_len: 40 },
    },
    origin: {},
    files: [],
  },
  flags: { simulate: true, seed },
  hosts: pairs(groups),
});

const isWhole = (record: TrialRecord): boolean => isScored(record) && record.verdict.censored !== true;
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function originalMakespan(told: readonly TrialRecord[]): number {
  const starts = median(told.filter(({ starts: count }) => count !== 0).map(({ start_s }) => start_s));
  const benchmark = median(told.filter(isWhole).map(({ benchmark_s }) => benchmark_s));
  const seconds = told.map((record) => {
    if (record.verdict.kind !== 'scored') return original.gaveUpAfter;
    const start = record.starts === 0 ? starts : record.start_s;
    const seen = Math.ceil(start / original.grid) * original.grid;
    return seen + (isWhole(record) ? record.benchmark_s : Math.max(benchmark, record.benchmark_s));
  });
  let makespan = 0;
  for (let first = 0; first < seconds.length; first += groups)
    makespan += Math.max(...seconds.slice(first, first + groups));
  return makespan;
}

async function measure(seed: number): Promise<Row[]> {
  const output = mkdtempSync(join(tmpdir(), 'optimizer-waste-'));
  const input = inputOf(seed, output);
  const settings = resolveSettings(input, registry);
  const { paths, error } = await runStudy({ settings, input, events: new EventBus() }, never);
  if (error !== undefined) throw error as Error;
  const told = toldIn((await readJournal(paths.journal)).entries)
    .filter(({ reused_from, group_id }) => reused_from === null && group_id !== null)
    .sort((a, b) => a.trial_id - b.trial_id);
  rmSync(output, { recursive: true, force: true });
  const times = told.flatMap(({ started_at, finished_at }) => [
    Date.parse(started_at),
    Date.parse(finished_at),
  ]);
  const ours = (Math.max(...times) - Math.min(...times)) / 1000;
  const theirs = originalMakespan(told);
  const measuring = sum(told.filter(isWhole).map(({ benchmark_s }) => benchmark_s));
  const row = (schedule: string, makespan: number): Row => {
    const [all, useful] = [(makespan * groups * devices) / 60, (measuring * devices) / 60];
    return {
      ...{ schedule, seed, evaluations: told.length },
      infeasible: told.filter(({ verdict }) => verdict.kind !== 'scored').length,
      makespan_min: makespan / 60,
      measuring_min: useful,
      wasted_min: all - useful,
      wasted_share: 1 - useful / all,
    };
  };
  return [row('ours', ours), row("the original's", theirs)];
}

export async function waste(short: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  for (const seed of short ? [1] : [1, 2, 3, 4, 5]) rows.push(...(await measure(seed)));
  return rows;
}
