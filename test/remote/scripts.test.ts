import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { counter, reaper } from '../../src/remote/scripts.ts';

const token = `scripts-${process.pid}/g0/r0.`;
let directory: string;
let service: ReturnType<typeof spawn>;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'optimizer-scripts-'));
  service = spawn('sleep', ['60'], { env: { ...process.env, OPTIMIZER_TOKEN: token }, stdio: 'ignore' });
});
afterEach(() => {
  service.kill('SIGKILL');
  rmSync(directory, { recursive: true });
});

/** As if every process were just becoming another program at the first look: then it has no environment. */
function atTheWrongMoment(script: string): string {
  const seen = join(directory, 'seen');
  writeFileSync(
    join(directory, 'grep'),
    `#!/bin/sh\n[ -e ${seen} ] || { : >${seen}; exit 1; }\nPATH=\${PATH#*:} exec grep "$@"\n`,
    { mode: 0o755 },
  );
  const env = { ...process.env, PATH: `${directory}:${process.env['PATH'] ?? ''}` };
  return execFileSync('sh', ['-c', script], { env, encoding: 'utf8' }).trim();
}

test('a process that is becoming another program while it is looked for is counted', () => {
  expect(atTheWrongMoment(counter(token))).toBe('1');
});

test('a process that is becoming another program while it is looked for is ended', async () => {
  const ended = new Promise((resolve) => void service.once('exit', (_code, signal) => resolve(signal)));
  expect(atTheWrongMoment(reaper(token, 2000))).toBe('');
  expect(await ended).toBe('SIGTERM');
});
