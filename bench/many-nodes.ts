import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { keyPair } from '../src/emulator/host.ts';
import { realSshd, type Network } from '../test/support/sshd.ts';
import { hostsOf, sleepStudy, type Hosts, type SleepResult } from './sleep-study.ts';

/**
 * 32 groups of two real sshd, and 256 groups of two emulated hosts. A node sees its own processes alone (a PID
 * namespace each sshd, or each process of emulated hosts), as machines do: what looks through /proc is no cheaper and
 * no dearer than there. All of the nodes' work is done by this machine as well.
 */

const ownProcesses = ['unshare', '--fork', '--pid', '--mount-proc', '--kill-child'] as const;

const machines: Network = {
  onController: [],
  address: (index) => `127.${20 + (process.pid % 70)}.${index >> 7}.${(index & 127) + 1}`,
  on: () => ownProcesses,
};

interface Emulated extends AsyncDisposable {
  readonly hosts: Hosts;
}

const each = 32;

async function emulated(count: number): Promise<Emulated> {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-many-'));
  const clientKey = keyPair();
  const identity = join(directory, 'id');
  writeFileSync(identity, clientKey.private, { mode: 0o600 });
  const port = 24_000 + (process.pid % 1000);
  const addresses: string[] = [];
  const known: string[] = [];
  const children: ChildProcess[] = [];
  const tsx = resolve(import.meta.dirname, '../node_modules/.bin/tsx');
  for (let first = 0; first < count; first += each) {
    const options = { clientKey, port, net: `127.${20 + (process.pid % 70)}.${100 + first / each}` };
    const argv = [tsx, join(import.meta.dirname, 'emulated-hosts.ts'), String(each), JSON.stringify(options)];
    const child = spawn(ownProcesses[0], [...ownProcesses.slice(1), ...argv], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    children.push(child);
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
    const told = JSON.parse(line) as { addresses: string[]; knownHosts: string };
    addresses.push(...told.addresses);
    known.push(told.knownHosts);
  }
  const knownHosts = join(directory, 'known_hosts');
  writeFileSync(knownHosts, known.join(''));
  return {
    hosts: { addresses, port, identity, knownHosts },
    async [Symbol.asyncDispose]() {
      await Promise.all(
        children.map(async (child) => {
          const ended = once(child, 'exit');
          child.stdin?.end();
          await ended;
        }),
      );
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

type Row = SleepResult & { readonly case: string };

export async function manyNodes(short: boolean): Promise<Row[]> {
  const sleeps = { startSeconds: 0.5, benchmarkSeconds: 2.5 };
  const rows: Row[] = [];
  {
    await using cluster = await realSshd.start(64, undefined, { network: machines });
    const hosts = hostsOf(cluster);
    for (const seed of short ? [undefined] : [undefined, 1, 2])
      rows.push({
        case: seed === undefined ? 'sshd, fixed' : `sshd, lognormal seed ${seed}`,
        ...(await sleepStudy({ ...sleeps, hosts, groups: 32, evaluations: short ? 96 : 192, seed })),
      });
  }
  if (short) return rows;
  await using cluster = await emulated(512);
  for (const seed of [undefined, 1])
    rows.push({
      case: seed === undefined ? 'emulated, fixed' : `emulated, lognormal seed ${seed}`,
      ...(await sleepStudy({ ...sleeps, hosts: cluster.hosts, groups: 256, evaluations: 1024, seed })),
    });
  return rows;
}
