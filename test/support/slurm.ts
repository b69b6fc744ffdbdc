import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

/** A real Slurm on this machine: a controller and several nodes, of Debian's slurm-wlm. Needs root. */

export interface SlurmCluster extends Disposable {
  readonly nodes: readonly string[];
  /** For whoever runs its commands. */
  readonly env: Readonly<Record<string, string>>;
  /** An allocation of so many nodes that lasts until it is cancelled. */
  allocate(nodes: number): string;
  cancel(job: string): void;
  /** Words that squeue prints of all jobs: `%i %T`. */
  jobs(): string[];
}

const programs = ['/usr/sbin/slurmctld', '/usr/sbin/slurmd', '/usr/sbin/munged'];

function usable(): boolean {
  return process.env['OPTIMIZER_TEST_SSHD'] === '1' && userInfo().uid === 0 && programs.every(existsSync);
}

let made = 0;

function start(count: number): SlurmCluster {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-slurm-'));
  const at = (...parts: string[]): string => join(directory, ...parts);
  for (const name of ['state', 'spool', 'log', 'munge']) mkdirSync(at(name), { mode: 0o755 });
  mkdirSync('/run/munge', { recursive: true, mode: 0o755 });
  execFileSync('chmod', ['755', directory]);
  const base = 17_000 + ((process.pid + made++ * 37) % 9000);
  const names = Array.from({ length: count }, (_, index) => `sn${index + 1}`);
  writeFileSync(at('munge/key'), randomBytes(32), { mode: 0o400 });
  execFileSync('munged', [
    ...['--force', `--key-file=${at('munge/key')}`, `--socket=${at('munge/sock')}`],
    ...[
      `--pid-file=${at('munged.pid')}`,
      `--log-file=${at('log/munged')}`,
      `--seed-file=${at('munge/seed')}`,
    ],
  ]);
  const conf = {
    ClusterName: 'test',
    SlurmctldHost: 'localhost(127.0.0.1)',
    SlurmUser: 'root',
    SlurmdUser: 'root',
    AuthType: 'auth/munge',
    AuthInfo: `socket=${at('munge/sock')}`,
    CredType: 'cred/munge',
    SlurmctldPort: base,
    SlurmctldPidFile: at('slurmctld.pid'),
    SlurmdPidFile: at('slurmd-%n.pid'),
    SlurmdSpoolDir: at('spool/%n'),
    StateSaveLocation: at('state'),
    SlurmctldLogFile: at('log/slurmctld'),
    SlurmdLogFile: at('log/slurmd-%n'),
    ProctrackType: 'proctrack/pgid',
    TaskPlugin: 'task/none',
    SwitchType: 'switch/none',
    SelectType: 'select/cons_tres',
    SelectTypeParameters: 'CR_Core',
    SchedulerType: 'sched/backfill',
    SchedulerParameters: 'sched_interval=1,bf_interval=1',
    JobAcctGatherType: 'jobacct_gather/none',
    AccountingStorageType: 'accounting_storage/none',
    MpiDefault: 'none',
    ReturnToService: 2,
    SlurmdParameters: 'config_overrides',
    KillWait: 2,
    MinJobAge: 60,
    InactiveLimit: 0,
  };
  const ports = `[${base + 1}-${base + count}]`;
  writeFileSync(
    at('slurm.conf'),
    `${Object.entries(conf)
      .map(([key, value]) => `${key}=${value}`)
      .join('\n')}
NodeName=sn[1-${count}] NodeHostname=localhost NodeAddr=127.0.1.[1-${count}] Port=${ports} CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
`,
  );
  const env = { SLURM_CONF: at('slurm.conf') };
  const slurm = (program: string, ...words: readonly string[]): string =>
    execFileSync(program, words, { encoding: 'utf8', env: { ...process.env, ...env }, stdio: 'pipe' }).trim();
  const down = (): void => {
    const files = [...names.map((name) => `slurmd-${name}.pid`), 'slurmctld.pid', 'munged.pid'];
    const pids = files
      .filter((name) => existsSync(at(name)))
      .map((file) => readFileSync(at(file), 'utf8').trim());
    for (const pid of pids) spawnSync('kill', [pid]);
    for (let i = 0; i < 100 && pids.some((pid) => existsSync(`/proc/${pid}/exe`)); i++)
      spawnSync('sleep', ['0.1']);
    rmSync(directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  };
  try {
    slurm('slurmctld', '-f', at('slurm.conf'));
    for (const name of names) {
      mkdirSync(at('spool', name));
      slurm('slurmd', '-N', name, '-f', at('slurm.conf'));
    }
    const end = performance.now() + 20_000;
    while (slurm('sinfo', '-h', '-t', 'idle', '-o', '%D') !== String(count)) {
      if (performance.now() > end) throw new Error(`Slurm does not come up: ${slurm('sinfo')}`);
      spawnSync('sleep', ['0.1']);
    }
  } catch (error) {
    down();
    throw error;
  }
  return {
    nodes: names,
    env,
    allocate: (nodes) => {
      const said = spawnSync('salloc', ['--no-shell', '--exclusive', `-N${nodes}`, '-t', '10'], {
        encoding: 'utf8',
        env: { ...process.env, ...env },
      });
      return /job allocation (\d+)/.exec(said.stderr)?.[1] ?? '';
    },
    cancel: (job) => void slurm('scancel', job),
    jobs: () => slurm('squeue', '-h', '-o', '%i %T').split('\n').filter(Boolean),
    [Symbol.dispose]: down,
  };
}

export const realSlurm = { available: usable(), start };
