import { posix } from 'node:path';
import { deferred } from '../base/condition.ts';
import { abortable, deadline } from '../base/cancellation.ts';
import { systemClock } from '../base/clock.ts';
import { CommunicationError, IPCCommandError, IPCTimeoutError } from '../base/errors.ts';
import { printable } from '../base/printable.ts';
import { ms, toSeconds } from '../base/units.ts';
import type {
  Command,
  CommandResult,
  Executor,
  Forwarding,
  HoldOptions,
  RemoteProcess,
  RunOptions,
  SpawnOptions,
} from '../parallel/ports.ts';
import { BoundedText, LineTail } from './bounded-text.ts';
import { body, quote, script } from './quote.ts';
import { SpawnedProcess } from './spawned-process.ts';
import { guardian, inSession, launcher } from './guardian.ts';
import { fromInput, groupKiller, shell, tied, untied } from './scripts.ts';
import type { Channel, ChannelEnd, Transport } from './transport.ts';

const outputLimit = 1024 * 1024;
const killGrace = ms(2000);
const holdLimit = ms(60_000);
/** Longest command line that is sent as one; Linux takes 128 KiB. */
const inlineLimit = 65_536;

/** Runs commands through a transport's shell: the same code for SSH and for this machine. */
export class ShellExecutor implements Executor {
  readonly #transport: Transport;
  readonly #held = new Set<Channel>();

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  get host(): string {
    return this.#transport.host;
  }

  get address(): string {
    return this.#transport.address;
  }

  get lost(): AbortSignal {
    return this.#transport.lost;
  }

  get forwarding(): Forwarding | undefined {
    return this.#transport.forwarding;
  }

  async run(command: Command, options: RunOptions): Promise<CommandResult> {
    const name = command.label ?? command.argv.join(' ').slice(0, 100);
    const expired = (): Error => new IPCTimeoutError(`${name} on ${this.host}`, toSeconds(options.timeout));
    using bounded = deadline(systemClock, options.timeout, expired, options.signal);
    const { text, input } = lineOf(command, options.untied === true);
    const channel = await this.#transport.open(text, bounded.signal);
    const stdout = new BoundedText(outputLimit);
    const stderr = new BoundedText(outputLimit);
    const pgid = deferred<number>();
    const heard = (kept: BoundedText) => (chunk: Buffer) => {
      kept.push(chunk);
      options.onOutput?.(chunk.toString('latin1'));
    };
    channel.stdout.on('data', heard(stdout));
    readGroupId(channel, heard(stderr), pgid.resolve);
    channel.stdin.on('error', () => undefined); // a command that does not read its input is no failure
    channel.stdin.write(input);
    if (options.untied === true) channel.stdin.end(command.stdin ?? '');
    const end = await this.#endOrKill(channel, pgid.promise, bounded.signal);
    channel.stdin.end();
    if (end.kind === 'code' && end.code === 0)
      return { exitCode: 0, stdout: stdout.text, stderr: stderr.text };
    throw this.#failure(name, end, stderr.text);
  }

  async spawn(command: Command, options: SpawnOptions): Promise<RemoteProcess> {
    const { directory, logFile, token, signal, guard } = options;
    const leaseSeconds = Math.max(1, Math.ceil(toSeconds(guard.lease)));
    const text = Buffer.from(
      guardian({
        ...{ directory, logFile, token, leaseSeconds, detached: guard.detached },
        command: script(command, inSession),
        stop: guard.stop.map((one) => ({
          text: script(one),
          seconds: Math.ceil(toSeconds(guard.grace)) + 30,
        })),
        reap: script(guard.reap),
        count: script(guard.count),
        restore: guard.restore.map((one) => script(one)),
      }),
    );
    const channel = await this.#transport.open(
      launcher({ directory, logFile, token, reap: body(guard.reap), bytes: text.length }),
      signal,
    );
    const renewal = ms(Math.min(5000, guard.lease / 4));
    const process = SpawnedProcess.attach(channel, { host: this.host, logFile, renewal });
    channel.stdin.write(text);
    return process;
  }

  async hold(command: Command, { signal, every, until }: HoldOptions): Promise<string> {
    const name = command.label ?? command.argv[0];
    const late = (): Error => new IPCTimeoutError(`${name} on ${this.host}`, toSeconds(holdLimit));
    using limit = deadline(systemClock, holdLimit, late, signal);
    const channel = await this.#transport.open(script(command), limit.signal);
    const said = new BoundedText(outputLimit);
    const told = deferred<string>();
    const printed = new BoundedText(outputLimit);
    const lines = new LineTail(1);
    channel.stderr.on('data', (chunk: Buffer) => said.push(chunk));
    channel.stdout.on('data', (chunk: Buffer) => {
      printed.push(chunk);
      if (lines.push(chunk.toString('latin1')).includes(until))
        told.resolve(`\n${printed.text}`.split(`\n${until}\n`, 1)[0]?.slice(1) ?? '');
    });
    channel.stdin.on('error', () => undefined); // it ends as well
    const timer = setInterval(() => channel.stdin.write('\n'), every);
    timer.unref();
    this.#held.add(channel);
    void channel.ended.then((end) => {
      clearInterval(timer);
      this.#held.delete(channel);
      told.reject(this.#failure(name, end, said.text));
    });
    try {
      return await abortable(told.promise, limit.signal);
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  async readFile(path: string, signal: AbortSignal): Promise<Buffer> {
    return this.#transport.files.read(path, signal);
  }

  async writeFile(path: string, data: string | Uint8Array, signal: AbortSignal, mode = 0o600): Promise<void> {
    const bytes = typeof data === 'string' ? Buffer.from(data) : Buffer.from(data);
    try {
      await this.#transport.files.write(path, bytes, signal, mode);
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ENOENT') throw this.#writeFailure(path, error);
      const parent = quote(posix.dirname(path));
      await this.run(shell(`umask 077; mkdir -p ${parent}`, `mkdir ${parent}`), {
        signal,
        timeout: ms(30_000),
      });
      await this.#transport.files.write(path, bytes, signal, mode).catch((again: unknown) => {
        throw this.#writeFailure(path, again);
      });
    }
  }

  async upload(local: string, remote: string, signal: AbortSignal): Promise<void> {
    await this.#transport.files.upload(local, remote, signal);
  }

  async download(remote: string, local: string, signal: AbortSignal): Promise<void> {
    await this.#transport.files.download(remote, local, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#held].map(async (channel) => this.#letGo(channel)));
    await this.#transport[Symbol.asyncDispose]();
  }

  /** What is held ends with its input: whoever comes next finds it gone. */
  async #letGo(channel: Channel): Promise<void> {
    using limit = deadline(systemClock, killGrace, () => new CommunicationError('it does not end'));
    channel.stdin.end();
    await abortable(channel.ended, limit.signal).catch(() => undefined);
  }

  #failure(name: string, end: ChannelEnd, stderr: string): CommunicationError {
    const { host } = this;
    if (end.kind === 'lost') {
      return new CommunicationError(`Lost ${host} while running ${name}`, { host }, { cause: end.cause });
    }
    const how = end.kind === 'code' ? `exit code ${end.code}` : `signal ${end.name}`;
    const said = printable(stderr).trim().split('\n').slice(-5).join('\n');
    return new IPCCommandError(name, `${how} on ${host}${said === '' ? '' : `: ${said}`}`, undefined, {
      blame: 'node',
      remedy: `Run it by hand on ${host}.`,
    });
  }

  #writeFailure(path: string, cause: unknown): CommunicationError {
    if (cause instanceof CommunicationError) return cause;
    return new CommunicationError(
      `Cannot write ${path} on ${this.host}: ${(cause as Error).message}`,
      { host: this.host, path },
      { cause, remedy: `Check owner, permissions and free space of ${posix.dirname(path)} on ${this.host}.` },
    );
  }

  /** On abort: TERM to the remote process group, KILL after a grace; then the reason of the abort. */
  async #endOrKill(channel: Channel, pgid: Promise<number>, signal: AbortSignal): Promise<ChannelEnd> {
    const aborted = deferred<'aborted'>();
    const onAbort = (): void => aborted.resolve('aborted');
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const first = await Promise.race([channel.ended, aborted.promise]);
      if (first !== 'aborted') return first;
      await this.#kill(channel, pgid);
      throw signal.reason;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #kill(channel: Channel, pgid: Promise<number>): Promise<void> {
    using limit = deadline(
      systemClock,
      ms(killGrace + 5000),
      () => new CommunicationError('kill took too long'),
    );
    const gone = channel.ended.then(() => undefined);
    const id = await Promise.race([pgid, gone]);
    if (id === undefined || this.lost.aborted) {
      channel.close();
      return;
    }
    const text = groupKiller(id, killGrace);
    try {
      const killer = await this.#transport.open(text, limit.signal);
      killer.stdout.resume();
      killer.stderr.resume();
      await killer.ended;
    } catch {
      // The link went away as well: the guardian's business, not ours any more.
    }
    channel.close();
  }
}

/** What is run as `sh -c`, and what comes first on its stdin. */
function lineOf(command: Command, isUntied: boolean): { readonly text: string; readonly input: Buffer } {
  const { env = {}, stdin } = command;
  const text = isUntied ? untied(script(command)) : tied(script(command), stdin ?? '');
  const shown = Object.keys(env).length === 0 && stdin === undefined && text.length < inlineLimit;
  if (shown) return { text, input: Buffer.alloc(0) };
  const input = Buffer.from(text);
  return { text: fromInput(input.length), input };
}

/** The first line of stderr names the process group; the rest is the command's own. */
function readGroupId(channel: Channel, heard: (chunk: Buffer) => void, found: (pgid: number) => void): void {
  let head = '';
  let known = false;
  channel.stderr.on('data', (chunk: Buffer) => {
    if (known) {
      heard(chunk);
      return;
    }
    head += chunk.toString('latin1');
    const match = /^pgid (\d+)\n/.exec(head);
    if (match === null) return;
    known = true;
    found(Number(match[1]));
    if (head.length > match[0].length) heard(Buffer.from(head.slice(match[0].length), 'latin1'));
  });
}
