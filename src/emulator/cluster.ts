import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { NodeConfig } from '../config/parallel-config.ts';
import { need } from '../base/assert.ts';
import { keyPair, publicBytes, startHost, type EmulatedHost, type KeyPair } from './host.ts';

/** SSH hosts on this machine, each with an address, a host key, a directory and processes of its own. */
export interface EmulatedCluster extends AsyncDisposable {
  readonly hosts: readonly EmulatedHost[];
  readonly directory: string;
  /** The key file that lets one in. */
  readonly identity: string;
  readonly knownHosts: string;
  readonly user: string;
  nodeConfig(index: number): NodeConfig;
}

let clusters = 0;

export interface ClusterOptions {
  /** The key that lets one in. */
  readonly clientKey?: KeyPair;
  /** Of all its hosts; any that is free without it. */
  readonly port?: number;
  /** The first three numbers of its addresses: those of two clusters at the same time are not the same. */
  readonly net?: string;
}

export async function startCluster(count: number, options: ClusterOptions = {}): Promise<EmulatedCluster> {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-cluster-'));
  const {
    clientKey = keyPair(),
    port = 0,
    net = `127.${100 + (process.pid % 100)}.${clusters++ % 250}`,
  } = options;
  const identity = join(directory, 'id');
  const knownHosts = join(directory, 'known_hosts');
  writeFileSync(identity, clientKey.private, { mode: 0o600 });
  const hosts: EmulatedHost[] = [];
  const dispose = async (): Promise<void> => {
    await Promise.all(hosts.map(async (host) => host[Symbol.asyncDispose]()));
    rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    for (let index = 0; index < count; index++) {
      hosts.push(
        await startHost({
          address: `${net}.${index + 1}`,
          port: hosts[0]?.port ?? port,
          directory: join(directory, `node${index}`),
          clientKey,
        }),
      );
    }
  } catch (error) {
    await dispose();
    throw error;
  }
  const entries = hosts.map(
    ({ address, port, hostKey }) =>
      `[${address}]:${port} ssh-ed25519 ${publicBytes(hostKey).toString('base64')}\n`,
  );
  writeFileSync(knownHosts, entries.join(''));
  const user = userInfo().username;
  return {
    hosts,
    directory,
    identity,
    knownHosts,
    user,
    nodeConfig(index) {
      const host = need(hosts[index], 'host');
      return new NodeConfig({
        host: host.address,
        ssh_port: host.port,
        username: user,
        identity_file: identity,
        known_hosts_file: knownHosts,
        work_dir: join(host.directory, 'work'),
      });
    },
    [Symbol.asyncDispose]: dispose,
  };
}
