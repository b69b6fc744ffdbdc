import { readFileSync, rmSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { never } from '../src/base/cancellation.ts';
import { EventBus } from '../src/base/events.ts';
import { registry, runStudy } from '../src/compose.ts';
import { resolveSettings, type SettingsInput } from '../src/config/settings.ts';
import { writeReport } from '../src/run-report.ts';
import { readJournal } from '../src/runs/journal-content.ts';
import { pairs } from './studies.ts';

/**
 * What the controller costs as studies grow: simulated ones, so that nothing else takes time. Nothing may be worse than
 * linear in the trials; the resume and the report of a long journal are what somebody waits for.
 */

interface Row {
  readonly case: string;
  readonly groups: number;
  readonly trials: number;
  readonly wall_s: number;
  readonly cpu_s: number;
  readonly ms_each: number;
  readonly rss_mb: number;
}

async function timed(work: () => Promise<unknown>): Promise<Pick<Row, 'wall_s' | 'cpu_s' | 'rss_mb'>> {
  const began = performance.now();
  const cpu = process.cpuUsage();
  let most = 0;
  const sample = (): void => {
    most = Math.max(most, process.memoryUsage.rss());
  };
  const timer = setInterval(sample, 200);
  await work();
  sample();
  clearInterval(timer);
  const { user, system } = process.cpuUsage(cpu);
  const wall = (performance.now() - began) / 1000;
  return { wall_s: wall, cpu_s: (user + system) / 1e6, rss_mb: most / 2 ** 20 };
}

function inputOf(output: string, groups: number, trials: number): SettingsInput {
  const values = {
    ...{ engine: 'emulator', simulate: { noise: 0.03 }, output },
    ...{ n_particles: Math.min(200, Math.max(10, 2 * groups)), iters: 200, max_evaluations: trials },
    ...{ surrogate: false, load_search: 'fixed', confirm_runs: 0 },
    builtin: { num_prompts: 50, input_len: 128, output_len: 16 },
  };
  return {
    document: { values, origin: {}, files: [] },
    flags: { simulate: true, seed: 1 },
    hosts: pairs(groups),
  };
}

async function grown(groups: number, trials: number): Promise<Row[]> {
  const output = mkdtempSync(join(tmpdir(), 'optimizer-growth-'));
  const input = inputOf(output, groups, trials);
  const settings = resolveSettings(input, registry);
  const study = async (resume?: string): Promise<void> => {
    const { error } = await runStudy({ settings, input, events: new EventBus(), resume }, never);
    if (error !== undefined) throw error as Error;
  };
  const row = (name: string, cost: Awaited<ReturnType<typeof timed>>): Row => ({
    ...{ case: name, groups, trials },
    ...cost,
    ms_each: (1000 * cost.wall_s) / trials,
  });
  const rows = [row('study', await timed(async () => study()))];
  if (groups === 4) {
    const directory = join(output, 'runs', 'sim-1');
    const journal = join(directory, 'journal.jsonl');
    const report = async (): Promise<unknown> => writeReport(directory, (await readJournal(journal)).entries);
    rows.push(row('its report', await timed(report)));
    // Without its end, and with the last trial to be measured anew.
    const lines = readFileSync(journal, 'utf8').trimEnd().split('\n');
    writeFileSync(journal, `${lines.slice(0, -2).join('\n')}\n`);
    rows.push(row('its resume', await timed(async () => study('sim-1'))));
  }
  rmSync(output, { recursive: true, force: true });
  return rows;
}

export async function growth(short: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  for (const groups of short ? [4, 64] : [1, 4, 16, 64, 256]) rows.push(...(await grown(groups, 1000)));
  for (const trials of short ? [100] : [100, 10_000]) rows.push(...(await grown(4, trials)));
  return rows;
}
