import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { median } from 'simple-statistics';

/** What a command takes before it does anything, against `node -e 0`, which does nothing. */

const cli = resolve(import.meta.dirname, '../dist/cli/main.js');

const commands: Readonly<Record<string, readonly string[]>> = {
  'node -e 0': ['-e', '0'],
  '--version': [cli, '--version'],
  '--help': [cli, '--help'],
  'runs --help': [cli, 'runs', '--help'],
  '--dry-run --simulate': [cli, '--dry-run', '--simulate'],
};

export interface Startup {
  readonly command: string;
  readonly median_ms: number;
  readonly of_node: number;
}

export function startup(short: boolean): Startup[] {
  const times = new Map<string, number[]>(Object.keys(commands).map((name) => [name, []]));
  // One of each in turn: what else the machine does touches all alike.
  for (let round = 0; round < (short ? 7 : 41); round++) {
    for (const [name, argv] of Object.entries(commands)) {
      const began = performance.now();
      const { status } = spawnSync(process.execPath, argv, { stdio: 'ignore' });
      if (status !== 0) throw new Error(`${name} ended with ${status}`);
      times.get(name)?.push(performance.now() - began);
    }
  }
  const floor = median(times.get('node -e 0') ?? []);
  return [...times].map(([command, all]) => ({
    command,
    median_ms: median(all),
    of_node: median(all) / floor,
  }));
}
