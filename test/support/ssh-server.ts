import type { NodeConfig } from '../../src/config/parallel-config.ts';
import { startCluster } from '../../src/emulator/cluster.ts';
import { publicBytes } from '../../src/emulator/host.ts';

export interface TestSshServer extends AsyncDisposable {
  readonly node: NodeConfig;
  readonly directory: string;
  readonly knownHosts: string;
  readonly hostKey: string;
  readonly connections: number;
  drop(): void;
  refuse(refusing: boolean): void;
}

/** One host of the emulated cluster: the real protocol in this process. */
export async function startSshServer(): Promise<TestSshServer> {
  const cluster = await startCluster(1);
  const host = cluster.hosts[0]!;
  return {
    node: cluster.nodeConfig(0),
    directory: cluster.directory,
    knownHosts: cluster.knownHosts,
    hostKey: publicBytes(host.hostKey).toString('base64'),
    get connections() {
      return host.connections;
    },
    drop: () => host.drop(),
    refuse: (now) => host.refuse(now),
    [Symbol.asyncDispose]: async () => cluster[Symbol.asyncDispose](),
  };
}
