import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { ms } from '../../src/base/units.ts';
import { startCluster, type EmulatedCluster } from '../../src/emulator/cluster.ts';
import { RemoteExecutor } from '../../src/remote/remote-executor.ts';

const options = { signal: never, timeout: ms(10_000) };
const once = { acceptNewHostKeys: false, connectTimeoutMs: 3000, retry: false };

describe('a host of the emulated cluster', () => {
  let cluster: EmulatedCluster;
  beforeEach(async () => {
    cluster = await startCluster(2);
  });
  afterEach(async () => cluster[Symbol.asyncDispose]());

  const connect = async (index: number) => RemoteExecutor.connect(cluster.nodeConfig(index), never, once);
  const background = { argv: ['sh', '-c', 'setsid sleep 300 </dev/null >/dev/null 2>&1 &'] } as const;

  test('has an address, a host key and processes of its own', async () => {
    const [a, b] = cluster.hosts;
    expect(a!.address).not.toBe(b!.address);
    expect(a!.hostKey.public).not.toBe(b!.hostKey.public);
    await using executor = await connect(0);
    await executor.run(background, options);
    expect(a!.processes()).toHaveLength(1);
    expect(b!.processes()).toEqual([]);
  });

  test('goes down with everything on it, and comes back empty', async () => {
    const host = cluster.hosts[0]!;
    await using executor = await connect(0);
    await executor.run(background, options);
    host.kill();
    expect(host.processes()).toEqual([]);
    await expect(executor.run({ argv: ['true'] }, options)).rejects.toMatchObject({ blame: 'node' });
    await expect(connect(0)).rejects.toThrow(/Cannot reach/);
    host.revive();
    await using again = await connect(0);
    expect((await again.run({ argv: ['echo', 'back'] }, options)).stdout).toBe('back\n');
  });

  test('loses its connections, refuses new ones, is slow', async () => {
    const host = cluster.hosts[0]!;
    await using executor = await connect(0);
    host.slow(300);
    const began = performance.now();
    await executor.run({ argv: ['true'] }, options);
    expect(performance.now() - began).toBeGreaterThan(290);
    host.drop();
    await expect(executor.run({ argv: ['true'] }, options)).rejects.toThrow(/Lost/);
    host.refuse(true);
    await expect(connect(0)).rejects.toThrow(/Cannot reach/);
    host.refuse(false);
    await using again = await connect(0);
    expect(again.lost.aborted).toBe(false);
  });

  test('leaves nothing behind when the cluster is closed', async () => {
    const own = await startCluster(1);
    const executor = await RemoteExecutor.connect(own.nodeConfig(0), never, once);
    await executor.run(background, options);
    await own[Symbol.asyncDispose]();
    expect(own.hosts[0]!.processes()).toEqual([]);
  });
});
