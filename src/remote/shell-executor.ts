import { posix } from 'node:path';
import { deferred } from '../base/condition.ts';
import { deadline } from '../base/cancellation.ts';
import { systemClock } from '../base/clock.ts';
import { CommunicationError, IPCCommandError, IPCTimeoutError } from '../base/errors.ts';
import { ms, toSeconds, type Ms } from '../base/units.ts';
import type { Command, CommandResult, Executor, RemoteProcess, SpawnOptions } from '../parallel/ports.ts';
import { BoundedText } from './bounded-text.ts';
import { quote, script } from './quote.ts';
import { SpawnedProcess } from './spawned-process.ts';
import { groupKiller, launcher, shell, withGroupId } from './scripts.ts';
import type { Channel, ChannelEnd, Transport } from './transport.ts';

const outputLimit = 1024 * 1024;
const killGrace = ms(2000);

/** Runs commands through a transport's shell: the same code for SSH and for this machine. */
export class ShellExecutor implements Executor {
  readonly #transport: Transport;

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

  async run(command: Command, options: { signal: AbortSignal; timeout: Ms }): Promise<CommandResult> {
    const name = command.label ?? command.argv.join(' ').slice(0, 100);
    const expired = (): Error => new IPCTimeoutError(`${name} on ${this.host}`, toSeconds(options.timeout));
    using bounded = deadline(systemClock, options.timeout, expired, options.signal);
    const channel = await this.#transport.open(withGroupId(script(command)), bounded.signal);
    const stdout = new BoundedText(outputLimit);
    const stderr = new BoundedText(outputLimit);
    const pgid = deferred<number>();
    channel.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
    readGroupId(channel, stderr, pgid.resolve);
    channel.stdin.on('error', () => undefined); // a command that does not read its input is no failure
    channel.stdin.end(command.stdin ?? '');
    const end = await this.#endOrKill(channel, pgid.promise, bounded.signal);
    if (end.kind === 'lost') {
      throw new CommunicationError(
        `Lost ${this.host} while running ${name}`,
        { host: this.host },
        { cause: end.cause },
      );
    }
    const result = {
      exitCode: end.kind === 'code' ? end.code : 128,
      stdout: stdout.text,
      stderr: stderr.text,
    };
    if (end.kind === 'code' && end.code === 0) return result;
    const how = end.kind === 'code' ? `exit code ${end.code}` : `signal ${end.name}`;
    const said = result.stderr.trim().split('\n').slice(-5).join('\n');
    throw new IPCCommandError(name, `${how} on ${this.host}${said === '' ? '' : `: ${said}`}`, undefined, {
      blame: 'node',
      remedy: `Run it by hand on ${this.host}.`,
    });
  }

  async spawn(command: Command, options: SpawnOptions): Promise<RemoteProcess> {
    const { directory, logFile, token, signal } = options;
    const commandFile = `${directory}/${posix.basename(logFile, '.log')}.sh`;
    const text = Buffer.from(`#!/bin/sh\n${script(command)}`);
    const files = { directory, logFile, commandFile, commandBytes: text.length, token };
    const channel = await this.#transport.open(launcher(files), signal);
    const process = SpawnedProcess.attach(channel, { host: this.host, logFile });
    channel.stdin.write(text);
    return process;
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
    await this.#transport[Symbol.asyncDispose]();
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

/** The first line of stderr names the process group; the rest is the command's own. */
function readGroupId(channel: Channel, stderr: BoundedText, found: (pgid: number) => void): void {
  let head = '';
  let known = false;
  channel.stderr.on('data', (chunk: Buffer) => {
    if (known) {
      stderr.push(chunk);
      return;
    }
    head += chunk.toString('latin1');
    const match = /^pgid (\d+)\n/.exec(head);
    if (match === null) return;
    known = true;
    found(Number(match[1]));
    stderr.push(Buffer.from(head.slice(match[0].length), 'latin1'));
  });
}
