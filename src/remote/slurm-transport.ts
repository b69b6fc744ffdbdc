import { randomBytes } from 'node:crypto';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { posix } from 'node:path';
import { PassThrough, Transform } from 'node:stream';
import { abortable, childController, deadline } from '../base/cancellation.ts';
import { deferred } from '../base/condition.ts';
import { systemClock } from '../base/clock.ts';
import { CommunicationError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import { LineTail } from './bounded-text.ts';
import { quote } from './quote.ts';
import type { Channel, ChannelEnd, Files, Transport } from './transport.ts';

/** A node of an allocation of Slurm, where every command is a job step. */

const fileTimeout = ms(60_000);
const startTimeout = ms(60_000);
/** For a step to end when its input has ended; then it is cancelled. */
const lettingGo = 3000;

const flags = [
  '--overlap',
  '--nodes=1',
  '--ntasks=1',
  '--cpu-bind=none',
  '--chdir=/',
  '--unbuffered',
  '--quiet',
  '--input=0',
];

/** What Slurm itself says among the words of the step. */
const slurmsOwn = /^(?:srun|slurmstepd(?:-\S+)?): /;

/** Takes the lines of Slurm out of a step's errors, and keeps the newest. */
function withoutSlurm(own: LineTail): Transform {
  let partial: Buffer = Buffer.alloc(0);
  const sorted = (line: Buffer): Buffer | undefined => {
    // Longer ones are none of Slurm's, and need not be held back.
    const text = line.subarray(0, 200).toString('latin1');
    if (!slurmsOwn.test(text)) return line;
    if (text.includes('error')) own.push(line.toString('utf8'));
    return undefined;
  };
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      partial = partial.length === 0 ? chunk : Buffer.concat([partial, chunk]);
      for (let end = partial.indexOf(10); end >= 0; end = partial.indexOf(10)) {
        const line = sorted(partial.subarray(0, end + 1));
        if (line !== undefined) this.push(line);
        partial = partial.subarray(end + 1);
      }
      if (partial.length > 4096) {
        this.push(partial);
        partial = Buffer.alloc(0);
      }
      done();
    },
    flush(done) {
      const line = partial.length === 0 ? undefined : sorted(Buffer.concat([partial, Buffer.from('\n')]));
      if (line !== undefined) this.push(line.subarray(0, -1));
      done();
    },
  });
}

/** 44: the parent is missing. */
const writing = (path: string, mode: number): string => {
  const [target, temporary] = [quote(path), quote(`${path}.${randomBytes(6).toString('hex')}.tmp`)];
  return `umask 077
[ -d ${quote(posix.dirname(path))} ] || exit 44
cat >${temporary} && chmod ${mode.toString(8)} ${temporary} && mv -f ${temporary} ${target} || { rm -f ${temporary}; exit 1; }
`;
};

export class SlurmTransport implements Transport {
  readonly host: string;
  readonly address: string;
  readonly #job: string;
  readonly #lost = childController();
  readonly #open = new Set<Channel>();

  readonly files: Files = {
    read: async (path, signal) => this.#file(`exec cat -- ${quote(path)}`, undefined, signal),
    write: async (path, data, signal, mode) => {
      await this.#file(writing(path, mode), data, signal);
    },
    upload: async (local, remote, signal) => {
      await this.#file(writing(remote, 0o600), await readFile(local), signal);
    },
    download: async (remote, local, signal) => writeFile(local, await this.files.read(remote, signal)),
  };

  private constructor(job: string, host: string, address: string) {
    this.#job = job;
    this.host = host;
    this.address = address;
  }

  /**
   * A step that stays open stands for the connection: it ends when the node or the allocation does.
   * @throws CommunicationError; blame `operator` where the node is none of the allocation's
   */
  static async connect(job: string, host: string, signal: AbortSignal): Promise<SlurmTransport> {
    const address = await addressOf(host, signal);
    const transport = new SlurmTransport(job, host, address);
    const own = new LineTail(3);
    const channel = transport.#step('echo ready; while IFS= read -r word; do :; done', own);
    const ready = deferred<undefined>();
    channel.stdout.once('data', () => ready.resolve(undefined));
    channel.stderr.resume();
    void channel.ended.then(() => {
      const said = own.lines.join('; ');
      const gone = transport.#gone(said === '' ? 'its step ended' : said);
      ready.reject(gone);
      transport.#lost.abort(gone);
    });
    const late = (): Error => transport.#gone(`no step started within ${startTimeout / 1000} s`);
    using limit = deadline(systemClock, startTimeout, late, signal);
    try {
      await abortable(ready.promise, limit.signal);
      return transport;
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async open(script: string, signal: AbortSignal): Promise<Channel> {
    signal.throwIfAborted();
    this.#lost.signal.throwIfAborted();
    return Promise.resolve(this.#step(script, new LineTail(3)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const open = [...this.#open];
    for (const channel of open) channel.close();
    using limit = deadline(systemClock, ms(2 * lettingGo), () => new CommunicationError('it does not end'));
    await abortable(Promise.all(open.map(async ({ ended }) => ended)), limit.signal).catch(() => undefined);
  }

  #step(script: string, own: LineTail): Channel {
    const words = [...flags, `--jobid=${this.#job}`, `--nodelist=${this.host}`, 'sh', '-c', script];
    // Ctrl-C on our terminal is for us: what runs there is ended by the rules.
    const child = spawn('srun', words, { detached: true, stdio: 'pipe', env: withoutJob() });
    const channel = this.#channel(child, own);
    this.#open.add(channel);
    void channel.ended.then(() => this.#open.delete(channel));
    return channel;
  }

  #channel(child: ChildProcessWithoutNullStreams, own: LineTail): Channel {
    const ended = deferred<ChannelEnd>();
    const stderr = child.stderr.pipe(withoutSlurm(own));
    const stdout = child.stdout.pipe(new PassThrough());
    child.on('error', (cause) => ended.resolve({ kind: 'lost', cause: this.#gone(cause.message) }));
    child.on('close', (code, signal) => {
      const isSlurms = own.lines.some((line) => /error: (?!.*task 0: )/.test(line));
      // Of the step itself Slurm says how it ended; anything else is that it never was one.
      if (code === null || (code !== 0 && isSlurms)) {
        ended.resolve({
          kind: 'lost',
          cause: this.#gone(own.lines.at(-1) ?? `srun ended by ${signal ?? code}`),
        });
      } else ended.resolve({ kind: 'code', code });
    });
    child.stdin.on('error', () => undefined); // it ended first
    let isClosed = false;
    return {
      stdin: child.stdin,
      stdout,
      stderr,
      ended: ended.promise,
      close: () => {
        if (isClosed) return;
        isClosed = true;
        child.stdin.end();
        stdout.resume();
        stderr.resume();
        // TERM makes srun cancel its step.
        const timer = setTimeout(() => child.kill('SIGTERM'), lettingGo);
        child.on('close', () => clearTimeout(timer));
      },
    };
  }

  async #file(script: string, input: Buffer | undefined, signal: AbortSignal): Promise<Buffer> {
    const late = (): Error => new CommunicationError(`${this.host} did not answer within a minute`);
    using limit = deadline(systemClock, fileTimeout, late, signal, this.#lost.signal);
    const channel = await this.open(script, limit.signal);
    const chunks: Buffer[] = [];
    const said = new LineTail(3);
    channel.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    channel.stderr.on('data', (chunk: Buffer) => said.push(`${chunk.toString('utf8')}\n`));
    channel.stdin.end(input);
    try {
      const end = await abortable(channel.ended, limit.signal);
      if (end.kind === 'code' && end.code === 0) return Buffer.concat(chunks);
      if (end.kind === 'lost') throw end.cause;
      const message = said.lines.filter((line) => line !== '').join('; ') || JSON.stringify(end);
      throw Object.assign(
        new Error(message),
        end.kind === 'code' && end.code === 44 ? { code: 'ENOENT' } : {},
      );
    } finally {
      channel.close();
    }
  }

  #gone(why: string): CommunicationError {
    const isElsewhere = /node configuration|Invalid node|not available|Invalid job/i.test(why);
    return new CommunicationError(
      `Job ${this.#job} of Slurm does not reach ${this.host}: ${why}`,
      { host: this.host, job: this.#job },
      {
        blame: isElsewhere ? 'operator' : 'node',
        remedy: `Check \`squeue -j ${this.#job}\` and \`srun --overlap --jobid=${this.#job} -w ${this.host} true\`.`,
      },
    );
  }
}

/** A job that we are in ourselves must not decide about steps elsewhere. */
function withoutJob(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^SLURM_(?!CONF$)/.test(name));
  return Object.fromEntries(kept);
}

/** Where other machines reach a node, by Slurm's own word. */
async function addressOf(host: string, signal: AbortSignal): Promise<string> {
  const child = spawn('scontrol', ['show', 'node', host, '--oneliner'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const said = deferred<string>();
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
  child.on('error', () => said.resolve(''));
  child.on('close', () => said.resolve(text));
  const [, address = host] = /\bNodeAddr=(\S+)/.exec(await abortable(said.promise, signal)) ?? [];
  return address;
}
