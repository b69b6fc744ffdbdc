import { execFile, spawn } from 'node:child_process';
import { abortable, childController } from '../base/cancellation.ts';
import { deferred } from '../base/condition.ts';
import { CommunicationError, ConfigurationError } from '../base/errors.ts';
import { LineTail } from './bounded-text.ts';

/** Nodes of Slurm that are ours until it is disposed, or until Slurm takes them back. */
export interface Allocation extends AsyncDisposable {
  readonly job: string;
  /** What Slurm tells a job of its nodes. */
  readonly env: Readonly<Record<string, string>>;
  /** Aborts when it is over, for whatever reason. */
  readonly ended: AbortSignal;
}

const lookEvery = 30_000;
const releaseLimit = 10_000;
const told = ['SLURM_JOB_ID', 'SLURM_JOB_NODELIST', 'SLURM_GPUS_ON_NODE', 'SLURM_GPUS_PER_NODE'];

/** Holds the allocation as long as its input is open: it is released when this process is gone, however that was. */
const holder = `env | grep -E '^(${told.join('|')})='; echo ready; exec cat >/dev/null`;

/** Why a job waits, and when it may start, in Slurm's words. */
async function whyItWaits(job: string): Promise<string> {
  return new Promise((resolve) => {
    execFile('squeue', ['-h', '-j', job, '-o', '%r, expected %S'], (_error, stdout) =>
      resolve(stdout.trim()),
    );
  });
}

/**
 * Makes an allocation with options of sbatch, and waits for it.
 * @throws ConfigurationError where there is no Slurm, or it does not take the options; the reason of the abort
 */
export async function allocate(
  options: readonly string[],
  { signal, note }: { readonly signal: AbortSignal; readonly note: (text: string) => void },
): Promise<Allocation> {
  signal.throwIfAborted();
  // Ctrl-C on our terminal is for us: services are ended before their nodes are given back.
  const child = spawn(
    'salloc',
    ['--job-name=optimizer', '--kill-command=TERM', ...options, 'sh', '-c', holder],
    {
      detached: true,
      stdio: 'pipe',
    },
  );
  const ended = childController();
  const granted = deferred<Record<string, string>>();
  const words = new LineTail(5);
  const env: Record<string, string> = {};
  let job = '';
  const stdout = new LineTail();
  child.stdout.on('data', (chunk: Buffer) => {
    for (const line of stdout.push(chunk.toString('utf8'))) {
      const [, name, value = ''] = /^(SLURM_\w+)=(.*)$/.exec(line) ?? [];
      if (name !== undefined) env[name] = value;
      if (line === 'ready') granted.resolve(env);
    }
  });
  child.stderr.on('data', (chunk: Buffer) => {
    for (const line of words.push(chunk.toString('utf8'))) {
      const pending = /Pending job allocation (\d+)/.exec(line)?.[1];
      if (pending === undefined) continue;
      job = pending;
      note(`Slurm's job ${job} waits for its nodes`);
    }
  });
  child.stdin.on('error', () => undefined); // it is over
  const over = new Promise<void>((resolve) => {
    child.on('error', (cause) => {
      const remedy = 'Run where the commands of Slurm are (salloc, srun), or reach the nodes by SSH.';
      granted.reject(new ConfigurationError(`salloc cannot be run: ${cause.message}`, {}, { cause, remedy }));
      resolve();
    });
    child.on('close', () => {
      const said = words.lines.map((line) => line.replace(/^salloc: (error: )?/, '')).join('; ');
      const remedy = 'Check the options with `salloc OPTIONS true`.';
      granted.reject(new ConfigurationError(`Slurm makes no allocation: ${said}`, {}, { remedy }));
      const lost = new CommunicationError(`Slurm has ended job ${env['SLURM_JOB_ID'] ?? job}: ${said}`);
      ended.abort(lost);
      resolve();
    });
  });
  const timer = setInterval(() => {
    if (job !== '') void whyItWaits(job).then((why) => note(`Slurm's job ${job} waits: ${why}`));
  }, lookEvery);
  const release = async (): Promise<void> => {
    child.stdin.end();
    const late = setTimeout(() => child.kill('SIGTERM'), releaseLimit);
    await over.finally(() => clearTimeout(late));
  };
  try {
    await abortable(granted.promise, signal);
  } catch (error) {
    child.kill('SIGTERM'); // before it is granted nothing reads its input
    await over;
    throw error;
  } finally {
    clearInterval(timer);
  }
  return { job: env['SLURM_JOB_ID'] ?? job, env, ended: ended.signal, [Symbol.asyncDispose]: release };
}
