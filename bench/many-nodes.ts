import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { keyPair } from '../src/emulator/host.ts';
import { realSshd, type Network } from '../test/support/sshd.ts';
import { bareStudy } from './bare-study.ts';
import { hostsOf, sleepStudy, type Hosts, type SleepResult } from './sleep-study.ts';

/**
 * 32 groups of two real sshd, and 256 groups of two emulated hosts. A node sees its own processes alone (a PID
 * namespace each sshd, or each process of emulated hosts), as machines do: what looks through /proc is no cheaper and
 * no dearer than there. All of the nodes' work is done by this machine as well, but it does not take the controller's
 * turn: elsewhere it would not.
 */

const ownProcesses = ['nice', 'unshare', '--fork', '--pid', '--mount-proc', '--kill-child'] as const;

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

interface Row extends SleepResult {
  readonly case: string;
  /** What the machine makes of the same sleeps with two bare commands an evaluation. */
  readonly bare_ratio: number | null;
  readonly bare_connect_s: number | null;
}

export async function manyNodes(short: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  const measure = async (name: string, hosts: Hosts, groups: number, evaluations: number): Promise<void> => {
    for (const seed of short ? [undefined] : groups === 32 ? [undefined, 1, 2] : [undefined, 1]) {
      const study = { hosts, groups, evaluations, startSeconds: 0.5, benchmarkSeconds: 2.5, seed };
      const ours = await sleepStudy(study);
      const bare = short ? undefined : await bareStudy(study);
      rows.push({
        case: seed === undefined ? `${name}, fixed` : `${name}, lognormal seed ${seed}`,
        ...ours,
        bare_ratio: bare === undefined ? null : bare.makespan_s / bare.ideal_s,
        bare_connect_s: bare?.connect_s ?? null,
      });
    }
  };
  {
    await using cluster = await realSshd.start(64, undefined, { network: machines });
    await measure('sshd', hostsOf(cluster), 32, short ? 96 : 192);
  }
  if (short) return rows;
  await using cluster = await emulated(512);
  await measure('emulated', cluster.hosts, 256, 1024);
  return rows;
}
