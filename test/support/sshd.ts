import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { NodeConfig } from '../../src/config/parallel-config.ts';

/** Real OpenSSH servers on loopback, one an address, each with a host key of its own. */

const binary = '/usr/sbin/sshd';

export interface SshdHost {
  readonly address: string;
  readonly port: number;
  pid(): number;
  /** Ends the listener and all that it serves, as a machine that goes down does to its sessions. */
  kill(): void;
  /** Ends the listener and its sessions alone: what they started goes on. */
  killServer(): void;
  start(): Promise<void>;
}

export interface SshdCluster extends AsyncDisposable {
  readonly directory: string;
  /** First on the PATH of those who log in. */
  readonly bin: string;
  readonly hosts: readonly SshdHost[];
  readonly port: number;
  readonly identity: string;
  readonly knownHosts: string;
  /** The user of the servers and of those who log in; undefined: the one who runs the tests. */
  readonly user: string | undefined;
  /** Words before a command that is to run where the hosts can be reached. */
  readonly onController: readonly string[];
  nodeConfig(index: number): NodeConfig;
}

function usable(): boolean {
  try {
    accessSync(binary, constants.X_OK);
    return process.env['OPTIMIZER_TEST_SSHD'] === '1';
  } catch {
    return false;
  }
}

async function listens(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.on('connect', () => (socket.destroy(), resolve(true)));
    socket.on('error', () => resolve(false));
  });
}

/** The same from inside a network of its own. */
function listensThere({ onController }: Network, host: string, port: number): boolean {
  const argv = [...onController, 'bash', '-c', `exec 3<>/dev/tcp/${host}/${port}`];
  return spawnSync(argv[0]!, argv.slice(1), { stdio: 'ignore', timeout: 2000 }).status === 0;
}

function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

/** All processes below one, itself last. */
function family(pid: number): number[] {
  let children: number[] = [];
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number);
  } catch {
    // it is gone
  }
  return [...children.flatMap(family), pid];
}

export function identityOf(user: string): { uid: number; gid: number } {
  const id = (flag: string): number =>
    Number(execFileSync('id', [flag, user], { stdio: ['ignore', 'pipe', 'ignore'] }));
  return { uid: id('-u'), gid: id('-g') };
}

/** An ordinary user with a shell, where .ci/run made one and we may become it. */
function ordinaryUser(): string | undefined {
  if (userInfo().uid !== 0) return undefined;
  try {
    identityOf('optimizer-test');
    return 'optimizer-test';
  } catch {
    return undefined;
  }
}

let clusters = 0;

/** Where hosts are, where that is not loopback. */
export interface Network {
  readonly onController: readonly string[];
  address(index: number): string;
  /** Words before a command that is to run on the host. */
  on(index: number): readonly string[];
}

export interface SshdOptions {
  readonly network?: Network;
  /** Further lines of sshd_config; the first of a key counts. */
  readonly config?: readonly string[];
}

/** `user`: another user that the servers run as and log in (root only). */
async function start(
  count: number,
  user?: string,
  { network, config: more = [] }: SshdOptions = {},
): Promise<SshdCluster> {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-sshd-'));
  chmodSync(directory, 0o755);
  if (userInfo().uid === 0) mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  const identity = join(directory, 'id');
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', identity]);
  const port = 20_000 + (process.pid % 10_000) + clusters++ * 7;
  const knownHosts = join(directory, 'known_hosts');
  const ids = user === undefined ? undefined : identityOf(user);
  if (ids !== undefined) chownSync(identity, ids.uid, ids.gid);
  const lines: string[] = [];
  const hosts = Array.from({ length: count }, (_, index): SshdHost => {
    const address = network?.address(index) ?? `127.0.${10 + (process.pid % 200)}.${index + 11}`;
    const home = join(directory, `node${index}`);
    mkdirSync(home);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(home, 'hostkey')]);
    const [type = '', key = ''] = readFileSync(join(home, 'hostkey.pub'), 'utf8').split(' ');
    lines.push(`[${address}]:${port} ${type} ${key}\n`);
    const config = [
      ...more,
      `Port ${port}`,
      `ListenAddress ${address}`,
      `HostKey ${home}/hostkey`,
      `PidFile none`,
      `AuthorizedKeysFile ${identity}.pub`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin prohibit-password',
      'UseDNS no',
      'MaxStartups 100:30:200',
      'Subsystem sftp internal-sftp',
      'LogLevel ERROR',
      `SetEnv SHLVL=1 PATH=${bin}:/usr/local/bin:/usr/bin:/bin`, // bash then skips start-up files, which may take longer than what we run
    ];
    writeFileSync(join(home, 'sshd_config'), `${config.join('\n')}\n`);
    if (ids !== undefined)
      for (const file of ['hostkey', 'sshd_config', '.']) chownSync(join(home, file), ids.uid, ids.gid);
    let server: ChildProcess | undefined;
    return {
      address,
      port,
      pid: () => server?.pid ?? 0,
      kill() {
        if (server?.pid === undefined) return;
        // Stopped first: a session that it began after its family was counted would outlive it.
        server.kill('SIGSTOP');
        for (const pid of family(server.pid)) {
          try {
            process.kill(pid, 'SIGKILL');
          } catch {
            // gone already
          }
        }
        server = undefined;
      },
      killServer() {
        if (server?.pid === undefined) return;
        server.kill('SIGSTOP');
        const sessions = family(server.pid).filter((pid) => nameOf(pid).startsWith('sshd'));
        // The listener first: it would not serve anybody again.
        for (const pid of [server.pid, ...sessions]) {
          try {
            process.kill(pid, 'SIGKILL');
          } catch {
            // gone already
          }
        }
        server = undefined;
      },
      async start() {
        const argv = [...(network?.on(index) ?? []), binary, '-D', '-e', '-f', join(home, 'sshd_config')];
        server = spawn(argv[0]!, argv.slice(1), { stdio: 'ignore', ...ids });
        const answers = async (): Promise<boolean> =>
          network === undefined ? listens(address, port) : listensThere(network, address, port);
        for (let i = 0; i < 200 && !(await answers()); i++)
          await new Promise((resolve) => setTimeout(resolve, 25));
      },
    };
  });
  writeFileSync(knownHosts, lines.join(''));
  await Promise.all(hosts.map(async (host) => host.start()));
  return {
    directory,
    bin,
    hosts,
    port,
    identity,
    knownHosts,
    user,
    onController: network?.onController ?? [],
    nodeConfig: (index) =>
      new NodeConfig({
        host: hosts[index]!.address,
        ssh_port: port,
        identity_file: identity,
        known_hosts_file: knownHosts,
        work_dir: join(directory, 'work'),
        ...(user === undefined ? {} : { username: user }),
      }),
    async [Symbol.asyncDispose]() {
      for (const host of hosts) host.kill();
      if (existsSync(directory)) rmSync(directory, { recursive: true, force: true });
      return Promise.resolve();
    },
  };
}

export const realSshd = { available: usable(), ordinaryUser: ordinaryUser(), start };
