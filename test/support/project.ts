import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parse } from 'csv-parse/sync';
import type { JournalEntry } from '../../src/parallel/records.ts';
import type { Summary } from '../../src/report/summary.ts';
import { quote } from '../../src/remote/quote.ts';
import { identityOf, type SshdCluster } from './sshd.ts';

const cli = resolve(import.meta.dirname, '../../dist/cli/main.js');
const service = resolve(import.meta.dirname, 'fake-service.mjs');

export interface Witness {
  readonly event: 'start' | 'stop';
  readonly role: string;
  readonly argv: readonly string[];
  readonly pid: number;
  /** When its program began to run. */
  readonly began: number;
  readonly at: number;
  readonly config: { readonly env?: Readonly<Record<string, number>> };
  readonly env: Readonly<Record<string, string>>;
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProjectOptions {
  readonly top?: string;
  readonly particles?: number;
  readonly iters?: number;
  /** A command that takes longer hangs. */
  readonly limitMs?: number;
  /** Further keys of [parallel]. */
  readonly parallel?: string;
  readonly defaults?: string;
  readonly env?: Readonly<Record<string, string | number>>;
  readonly builtin?: string;
  readonly worker?: boolean;
  /** The start script starts the service in the background and returns. */
  readonly forks?: boolean;
  /** Bounds of the fields, where they are not the usual wide ones. */
  readonly seqs?: readonly [number, number];
  readonly concurrency?: readonly [number, number];
}

let projects = 0;

/** A directory with a config, scripts and a hostfile, as a user would have it; and the command to run in it. */
/** A default of the tests, where a test says nothing else. */
const given = (top: string, key: string, value: string): string =>
  new RegExp(`^${key} *=`, 'm').test(top) ? '' : `${key} = ${value}`;

export class Project implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'optimizer-e2e-'));
  readonly witnessFile = join(this.directory, 'witness.jsonl');
  readonly servicePort = 31_000 + (process.pid % 1000) + projects++;
  readonly #cluster: SshdCluster;
  readonly #limitMs: number;
  readonly #children = new Set<ChildProcess>();

  constructor(cluster: SshdCluster, options: ProjectOptions = {}) {
    this.#cluster = cluster;
    this.#limitMs = options.limitMs ?? 60_000;
    chmodSync(this.directory, 0o777);
    const how = options.forks === true ? ['setsid', '&'] : ['exec', ''];
    this.script(
      'start.sh',
      `export FAKE_LISTEN=$MASTER_ADDR:${this.servicePort}\n${how[0]} ${process.execPath} ${service} "$@" ${how[1]}`,
    );
    this.script('worker.sh', `FAKE_ROLE=worker exec ${process.execPath} ${service} "$@"`);
    writeFileSync(
      join(this.directory, 'hosts.txt'),
      cluster.hosts.map(({ address }) => `${address}\n`).join(''),
    );
    this.configure(options);
  }

  configure(options: ProjectOptions): void {
    const { top = '', defaults = '', env = {}, builtin = '', worker = false } = options;
    const { seqs = [1, 128], concurrency = [2, 32] } = options;
    const variables = Object.entries({ FAKE_WITNESS: this.witnessFile, ...env });
    writeFileSync(
      join(this.directory, 'config.toml'),
      `engine = "script"
n_particles = ${options.particles ?? 4}
iters = ${options.iters ?? 3}
tpot_slo = 0.05
${given(top, 'load_search', '"fixed"')}
${given(top, 'confirm_runs', '0')}
${top}
[parallel]
retry_delay = 0.1
${given(options.parallel ?? '', 'groups', '"trust"')}
${options.parallel ?? ''}
[parallel.defaults]
start_script = "${this.directory}/start.sh"
${worker ? `worker_script = "${this.directory}/worker.sh"` : ''}
work_dir = "${this.directory}/scratch"
config_path = "${this.directory}/scratch/config.json"
health_check_url = "http://{host}:${this.servicePort}/health"
known_hosts_file = "${this.#cluster.knownHosts}"
${defaults}
[parallel.defaults.env]
${variables.map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join('\n')}
[[script.target_field]]
name = "MAX_NUM_SEQS"
config_position = "env"
min = ${seqs[0]}
max = ${seqs[1]}
dtype = "int"
value = 8
[[script.target_field]]
name = "CONCURRENCY"
config_position = "env"
min = ${concurrency[0]}
max = ${concurrency[1]}
dtype = "int"
value = 8
[builtin]
num_prompts = 24
num_warmups = 2
input_len = 8
output_len = 8
${builtin}
`,
    );
  }

  /** A shell script of the project's in place of what was there. */
  script(name: string, body: string): string {
    writeFileSync(join(this.directory, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    return join(this.directory, name);
  }

  get args(): string[] {
    const { identity, port } = this.#cluster;
    return [
      '--parallel',
      '--hostfile',
      'hosts.txt',
      '-i',
      identity,
      '--ssh-port',
      String(port),
      '-c',
      'config.toml',
    ];
  }

  start(args: readonly string[] = this.args): {
    child: ChildProcess;
    done: Promise<Finished>;
    /** What it has said on stdout so far. */
    output: () => string;
  } {
    const { user } = this.#cluster;
    const who =
      user === undefined
        ? {}
        : { ...identityOf(user), env: { ...process.env, HOME: this.directory, USER: user } };
    const [program, ...words] = [...this.#cluster.onController, process.execPath, cli, ...args];
    const child = spawn(program!, words, {
      cwd: this.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...who,
    });
    this.#children.add(child);
    const hung = setTimeout(() => {
      console.error(`still running after ${this.#limitMs} ms:\n${stderr}\n${stdout.slice(-2000)}`);
      child.kill('SIGKILL');
    }, this.#limitMs);
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const done = new Promise<Finished>((finish) => {
      child.on('close', (code, signal) => {
        clearTimeout(hung);
        this.#children.delete(child);
        // Nothing here ends it by another one, and a test that sees no exit code has no idea why.
        if (signal !== null && signal !== 'SIGKILL')
          console.error(`ended by ${signal}:\n${stderr}\n${stdout.slice(-2000)}`);
        finish({ code, stdout, stderr });
      });
    });
    return { child, done, output: () => stdout };
  }

  async run(args: readonly string[] = this.args): Promise<Finished> {
    return this.start(args).done;
  }

  /** In a terminal of its own, which closes when `terminal` is killed. */
  inTerminal(args: readonly string[]): { terminal: ChildProcess; output: () => string } {
    const line = [process.execPath, cli, ...args].map(quote).join(' ');
    const terminal = spawn('script', ['-qfc', line, '/dev/null'], {
      cwd: this.directory,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#children.add(terminal);
    let seen = '';
    terminal.stdout.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    return { terminal, output: () => seen };
  }

  runsIn(output: string): string[] {
    const root = join(this.directory, output, 'runs');
    return existsSync(root) ? readdirSync(root) : [];
  }

  hasRun(): boolean {
    const root = join(this.directory, 'result/runs');
    return this.runsIn('result').some((run) => existsSync(join(root, run, 'journal.jsonl')));
  }

  get runDirectory(): string {
    const root = join(this.directory, 'result/runs');
    const [newest] = existsSync(root) ? readdirSync(root).sort().reverse() : [];
    if (newest === undefined) throw new Error('there is no run');
    return join(root, newest);
  }

  summary(): Summary {
    return JSON.parse(readFileSync(join(this.runDirectory, 'summary.json'), 'utf8')) as Summary;
  }

  journal(): JournalEntry[] {
    const lines = readFileSync(join(this.runDirectory, 'journal.jsonl'), 'utf8').split('\n');
    return lines.slice(0, -1).map((line) => JSON.parse(line) as JournalEntry);
  }

  /** What the services themselves say of their starts. */
  witnesses(event: Witness['event'] = 'start'): Witness[] {
    if (!existsSync(this.witnessFile)) return [];
    const lines = readFileSync(this.witnessFile, 'utf8').split('\n').filter(Boolean);
    return lines.map((line) => JSON.parse(line) as Witness).filter((one) => one.event === event);
  }

  rows(): Record<string, string>[] {
    const store = join(this.directory, 'result/store');
    const [file] = readdirSync(store).sort().reverse();
    const text = readFileSync(join(store, file!), 'utf8');
    return parse<Record<string, string>>(text, { columns: true, record_delimiter: '\r\n' });
  }

  residentMiB(pid: number): number {
    try {
      const pages = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1];
      return (Number(pages) * 4096) / 2 ** 20;
    } catch {
      return 0;
    }
  }

  /** A file that was kept of a trial. */
  trialFile(trial: number, name: string): string | undefined {
    const file = join(this.runDirectory, 'trials', String(trial), name);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  }

  /** Bytes of the largest service log on the nodes. */
  largestLog(): number {
    const root = join(this.directory, 'scratch/runs');
    const logs = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) =>
      name.endsWith('.log'),
    );
    return Math.max(0, ...logs.map((name) => statSync(join(root, name)).size));
  }

  /** Command lines of all processes of the machine. */
  commandLines(): string[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        try {
          return [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')];
        } catch {
          return [];
        }
      });
  }

  /** Every file of the result directory. */
  runFiles(): string[] {
    const root = join(this.directory, 'result');
    return readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
  }

  /** Processes of this project's services that live, whatever our own bookkeeping says. */
  left(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`FAKE_WITNESS=${this.witnessFile}`);
        } catch {
          return false;
        }
      });
  }

  /**
   * Whatever of a run is alive: services and their children, guardians, who tells their logs, load tools.
   * By the process table alone. The commands that this project started on the controller are not among them.
   */
  traces(): { pid: number; command: string }[] {
    const own = new Set([...this.#children].map(({ pid }) => pid));
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && !own.has(Number(name)) && Number(name) !== process.pid)
      .flatMap((pid) => {
        try {
          const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
          const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
          // The generator of the load is a process of the controller: it is where that was started.
          const where = `${readlinkSync(`/proc/${pid}/cwd`)}/`;
          const ours = [`${command}/`, environment, where].some((text) =>
            text.includes(`${this.directory}/`),
          );
          const isNode = command.includes('dist/cli/main.js');
          return ours && !isNode && command !== ''
            ? [{ pid: Number(pid), command: command.slice(0, 200) }]
            : [];
        } catch {
          return [];
        }
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { pid } of this.traces()) kill(pid);
    for (const child of this.#children) child.kill('SIGKILL');
    for (const pid of this.left()) kill(pid);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 3 });
    return Promise.resolve();
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // gone already
  }
}

export async function waitFor(condition: () => boolean, what: string, limit = 20_000): Promise<void> {
  const end = performance.now() + limit;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`it did not come to pass: ${what}`);
    await new Promise((again) => setTimeout(again, 20));
  }
}
