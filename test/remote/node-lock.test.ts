import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { ConfigurationError } from '../../src/base/errors.ts';
import { groupId, ms } from '../../src/base/units.ts';
import { NodeConfig } from '../../src/config/parallel-config.ts';
import { parseCensus } from '../../src/parallel/leftovers.ts';
import type { TakenNode } from '../../src/parallel/ports.ts';
import { hostRuntime } from '../../src/remote/host-runtime.ts';
import { nodeLock } from '../../src/remote/node-lock.ts';
import { LocalExecutor } from '../../src/remote/remote-executor.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "optimizer it's a lock-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const take = async (
  executor: LocalExecutor,
  runId: string,
  workDir = join(directory, 'work'),
): Promise<TakenNode> => {
  const node = new NodeConfig({ host: '127.0.0.1', work_dir: workDir, device_type: 'gpu' });
  const claim = { runId, since: '2026-01-02', lease: ms(60_000), census: hostRuntime.census() };
  return nodeLock.take(executor, node, claim, never);
};

test('a node is looked at, taken, and searched for what runs have there', async () => {
  const token = hostRuntime.token({ runId: `r-${process.pid}`, groupId: groupId(3), rank: 0 });
  const left = spawn('sleep', ['300'], {
    env: { ...process.env, OPTIMIZER_RUN_ID: `r-${process.pid}`, OPTIMIZER_TOKEN: token },
  });
  try {
    await using executor = new LocalExecutor();
    const first = await take(executor, 'mine');
    expect(first.facts).toMatchObject({ workDir: join(directory, 'work'), deviceType: 'gpu' });
    expect(parseCensus('h', first.found).filter((one) => one.token === token)).toMatchObject([
      { pid: left.pid, run: `r-${process.pid}`, name: 'sleep' },
    ]);
    // Once more over the same connection, as a group does that is repaired.
    const again = await take(executor, 'mine');
    expect(parseCensus('h', again.found).map(({ pid }) => pid)).toContain(left.pid);
    expect(again.facts).toEqual(first.facts);
  } finally {
    left.kill('SIGKILL');
  }
});

test('a search that fails says so, with a remedy, and holds nothing', async () => {
  const node = new NodeConfig({ host: '127.0.0.1', work_dir: join(directory, 'work') });
  const census = { argv: ['sh', '-c', 'echo no such container >&2; exit 9'] } as const;
  const claim = { runId: 'mine', since: '2026-01-02', lease: ms(60_000), census };
  await using executor = new LocalExecutor();
  await expect(nodeLock.take(executor, node, claim, never)).rejects.toMatchObject({
    message: expect.stringMatching(/taking the node.*exit code 70 on .*no such container/) as string,
    remedy: expect.stringContaining('by hand') as string,
    blame: 'node',
  });
  await using other = new LocalExecutor();
  await expect(take(other, 'theirs')).resolves.toBeDefined();
});

test('one run has it at a time, over as many connections as it likes, until it lets go', async () => {
  await using other = new LocalExecutor();
  {
    await using executor = new LocalExecutor();
    await using second = new LocalExecutor();
    await take(executor, 'mine');
    await take(second, 'mine');
    await expect(take(other, 'theirs')).rejects.toThrow(/in use by run mine of \S+@\S+ since 2026-01-02$/);
  }
  await expect(take(other, 'theirs')).resolves.toMatchObject({ facts: { warning: undefined } });
});

test('a work directory that cannot be used is told as such, and nothing is held', async () => {
  const file = join(directory, 'file');
  writeFileSync(file, '');
  await using executor = new LocalExecutor();
  await expect(take(executor, 'mine', file)).rejects.toThrow(ConfigurationError);
  rmSync(file);
  mkdirSync(file);
  await expect(take(executor, 'mine', file)).resolves.toBeDefined();
});
