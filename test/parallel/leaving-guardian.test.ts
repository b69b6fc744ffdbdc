import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { systemClock } from '../../src/base/clock.ts';
import { deferred, type Deferred } from '../../src/base/condition.ts';
import { ms, trialId } from '../../src/base/units.ts';
import { NodeConfig, ServiceGroupConfig } from '../../src/config/parallel-config.ts';
import type { GroupDependencies } from '../../src/parallel/group-dependencies.ts';
import type { Executor, LaunchPlan, NodeFacts, RemoteProcess, Runtime } from '../../src/parallel/ports.ts';
import { ServiceGroup } from '../../src/parallel/service-group.ts';

/** A group of one machine that notes what is done to it, whose guardians leave when they are told to. */
function made() {
  const done: string[] = [];
  const leaving: Deferred<undefined>[] = [];
  const process = (): RemoteProcess => ({
    pid: 1,
    identity: '1:1',
    logFile: 'log',
    exited: new Promise(() => undefined),
    tail: [],
    lastOutput: ms(0),
    onLine: () => undefined,
    end: async () => Promise.resolve(''),
    release: async () => {
      const gone = deferred<undefined>();
      leaving.push(gone);
      await gone.promise;
      done.push('guardian gone');
    },
    [Symbol.dispose]: () => undefined,
  });
  const executor = {
    host: 'node',
    address: 'node',
    lost: never,
    run: async ({ argv }: { argv: readonly string[] }) => {
      done.push(argv.join(' '));
      return Promise.resolve({ exitCode: 0, stdout: '', stderr: '' });
    },
    spawn: async () => {
      done.push('spawn');
      return Promise.resolve(process());
    },
    [Symbol.asyncDispose]: async () => Promise.resolve(void done.push('closed')),
  } as unknown as Executor;
  const facts: NodeFacts = { workDir: '/w', deviceType: 'none', warning: undefined };
  const runtime = {
    name: 'host',
    token: () => 'token',
    wrap: (command: unknown) => command,
    reap: () => ({ argv: ['reap'] }),
    count: () => ({ argv: ['count'] }),
    census: () => ({ argv: ['census'] }),
  } as unknown as Runtime;
  const dependencies = {
    connector: { connect: async () => Promise.resolve(executor) },
    probe: { memoryInUse: async () => Promise.resolve(undefined) },
    http: {
      status: async () => Promise.resolve(200),
      text: async () => Promise.resolve(undefined),
      listens: async () => Promise.resolve(false),
    },
    runtime,
    clock: systemClock,
    runId: 'run',
    lock: { take: async () => Promise.resolve({ facts, found: '' }) },
    since: '2026-01-01T00:00:00Z',
    lease: ms(30_000),
    logPatterns: [],
    engine: 'script',
    sharesPaths: false,
    forward: 'never',
    note: () => undefined,
  } as unknown as GroupDependencies;
  const group = new ServiceGroup(
    new ServiceGroupConfig({ group_id: 0, nodes: [new NodeConfig({ host: 'node', npu_ids: [0] })] }),
    dependencies,
  );
  return { group, done, leaving };
}

const plan = {
  files: [],
  prepare: [{ rank: 0, role: 'prepare', command: { argv: ['prepare'] } }],
  stages: [
    {
      processes: [{ rank: 0, role: 'service', command: { argv: ['serve'] } }],
      until: { kind: 'started' },
      timeout: ms(5000),
    },
  ],
  probe: { url: 'http://node:8000/health', expectStatus: 200 },
  stop: [],
  detached: true,
  silenceTimeout: ms(60_000),
  target: { baseUrl: 'http://node:8000', model: undefined },
} as unknown as LaunchPlan;

const context = { signal: never, trialId: trialId(1), isCurrent: false, runProven: false };

test('a start prepares while the last guardian leaves, and starts nothing that it could end', async () => {
  const { group, done, leaving } = made();
  await group.connect(never, { retry: false });
  await (await group.start(plan, context))[Symbol.asyncDispose]();
  done.length = 0;
  const next = group.start(plan, context);
  await sleep(50);
  expect(done).toEqual(['prepare']);
  leaving[0]?.resolve(undefined);
  await next;
  expect(done.filter((one) => one !== 'count')).toEqual(['prepare', 'guardian gone', 'spawn']);
});

test('a group keeps its connection until the last guardian has left', async () => {
  const { group, done, leaving } = made();
  await group.connect(never, { retry: false });
  await (await group.start(plan, context))[Symbol.asyncDispose]();
  const disposed = group[Symbol.asyncDispose]();
  await sleep(50);
  expect(done).not.toContain('closed');
  leaving[0]?.resolve(undefined);
  await disposed;
  expect(done.slice(-2)).toEqual(['guardian gone', 'closed']);
});
