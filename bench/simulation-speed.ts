import { once } from 'node:events';
import { resolve } from 'node:path';
import { spawn } from 'node:child_process';
import type { Table } from '../src/config/toml.ts';
import { measure, servings, settingsFor, simulate, temporary } from './studies.ts';

/** How fast studies are that need no machines. */

interface Row {
  readonly case: string;
  readonly count: number;
  readonly seconds: number;
  readonly ms_each: number;
  readonly per_second: number;
}

const row = (name: string, count: number, seconds: number): Row => ({
  case: name,
  count,
  seconds,
  ms_each: (1000 * seconds) / count,
  per_second: count / seconds,
});

const tsx = resolve(import.meta.dirname, '../node_modules/.bin/tsx');

const usual = { ...servings['chat']!, input: 256, output: 128 };

/** 300 requests of 256 tokens, answers of 128. */
async function evaluations(count: number): Promise<Row> {
  const { space } = settingsFor(usual);
  const one = async (seed: number) => measure(usual, space.current, { noise: 0.03, seed });
  for (let seed = 0; seed < 20; seed++) await one(seed);
  const began = performance.now();
  for (let seed = 0; seed < count; seed++) await one(seed);
  return row('one simulated evaluation, 300 requests', count, (performance.now() - began) / 1000);
}

const noRepeats = { confirm_runs: 0, load_search: 'fixed', n_particles: 10 };

async function studies(name: string, count: number, more: Table): Promise<Row> {
  using output = temporary();
  await simulate(usual, 0, { ...noRepeats, iters: 5 }, output.path);
  let told = 0;
  const began = performance.now();
  for (let seed = 1; seed <= count; seed++) {
    const { summary } = await simulate(usual, seed, { ...noRepeats, iters: 10, ...more }, output.path);
    const { measured, infeasible, failed, reused } = summary.evaluations;
    told += measured + infeasible + failed + reused;
  }
  return row(name, told, (performance.now() - began) / 1000);
}

async function onTwoWorkers(count: number): Promise<Row> {
  const table = { ...noRepeats, iters: 5, surrogate: false };
  const began = performance.now();
  await Promise.all(
    [0, 1].map(async (first) => {
      const script = resolve(import.meta.dirname, 'simulation-worker.ts');
      const argv = [script, String(first), '2', String(count / 2), JSON.stringify(table)];
      const [code] = (await once(spawn(tsx, argv, { stdio: 'inherit' }), 'exit')) as [number];
      if (code !== 0) throw new Error(`a worker ended with ${code}`);
    }),
  );
  return row(
    'studies of 50 evaluations on two workers, surrogate off',
    count,
    (performance.now() - began) / 1000,
  );
}

export async function simulationSpeed(short: boolean): Promise<Row[]> {
  return [
    await evaluations(short ? 200 : 2000),
    await studies('evaluations, surrogate off', short ? 3 : 20, { surrogate: false }),
    await studies('evaluations, the default search', short ? 2 : 10, {}),
    await onTwoWorkers(short ? 10 : 1000),
  ];
}
