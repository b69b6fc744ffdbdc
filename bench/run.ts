import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { abort } from './abort.ts';
import { confirmation } from './confirmation.ts';
import { overhead } from './overhead.ts';
import { nested } from './nested.ts';
import { growth } from './growth.ts';
import { againstBaseline, save, yardstick } from './guard.ts';
import { loadgen } from './loadgen.ts';
import { manyNodes } from './many-nodes.ts';
import { makespan } from './makespan.ts';
import { schedule } from './schedule.ts';
import { search } from './search.ts';
import { failures } from './failures.ts';
import { simulate } from './simulate.ts';
import { simulationSpeed } from './simulation-speed.ts';
import { tokenRate } from './token-rate.ts';
import { waste } from './waste.ts';
import { startup } from './startup.ts';

/**
 * `npm run bench [-- NAME…] [--full] [--save]`: prints tables (all short forms together take a few minutes), writes bench/results/NAME.json, and tells how they compare
 * with bench/baseline.json, which `--save` writes.
 */
const benches: Readonly<Record<string, (short: boolean) => readonly object[] | Promise<readonly object[]>>> =
  {
    makespan,
    simulate,
    failures,
    loadgen,
    schedule,
    search,
    nested,
    confirmation,
    abort,
    startup,
    waste,
    'token-rate': tokenRate,
    growth,
    'simulation-speed': simulationSpeed,
    overhead,
    'many-nodes': manyNodes,
  };

function table(rows: readonly object[]): string {
  const names = Object.keys(rows[0] ?? {});
  const cell = (value: unknown): string =>
    typeof value === 'number' ? String(Number(value.toFixed(3))) : String(value);
  const cells = rows.map((row) => Object.values(row).map(cell));
  const widths = names.map((name, i) => Math.max(name.length, ...cells.map((line) => line[i]?.length ?? 0)));
  const line = (words: readonly string[]): string =>
    `| ${words.map((word, i) => word.padStart(widths[i] ?? 0)).join(' | ')} |`;
  return [line(names), line(widths.map((width) => '-'.repeat(width))), ...cells.map(line)].join('\n');
}

const words = process.argv.slice(2);
const named = words.filter((word) => !word.startsWith('-'));
const directory = resolve(import.meta.dirname, 'results');
mkdirSync(directory, { recursive: true });
for (const name of named.length > 0 ? named : Object.keys(benches)) {
  const bench = benches[name];
  if (bench === undefined)
    throw new Error(`There is no bench '${name}'; there are ${Object.keys(benches).join(', ')}`);
  const pace = yardstick();
  const began = performance.now();
  const rows = await bench(!words.includes('--full'));
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  console.log([`${name}, ${seconds} s`, table(rows), ...againstBaseline(name, rows, pace), ''].join('\n'));
  writeFileSync(join(directory, `${name}.json`), `${JSON.stringify(rows, null, 2)}\n`);
  if (words.includes('--save')) save(name, rows, pace);
}
