import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { deferred } from '../base/condition.ts';
import { abortable, deadline } from '../base/cancellation.ts';
import { systemClock } from '../base/clock.ts';
import { CommunicationError, IPCTimeoutError } from '../base/errors.ts';
import { ms, toSeconds, type Ms } from '../base/units.ts';
import type { ProcessExit, RemoteProcess } from '../parallel/ports.ts';
import { BoundedText, LineTail } from './bounded-text.ts';
import type { Channel } from './transport.ts';

const startLimit = ms(30_000);
const lastWords = ms(2000);

/** What a log says as it grows. */
class LogFeed {
  readonly tail = new LineTail();
  readonly #listeners: ((line: string) => void)[] = [];
  bytes = 0;
  lastOutput = ms(performance.now());

  constructor(stdout: Readable, onData: () => void) {
    const decoder = new StringDecoder('utf8');
    stdout.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
      this.lastOutput = ms(performance.now());
      for (const line of this.tail.push(decoder.write(chunk))) {
        for (const listener of this.#listeners) listener(line);
      }
      onData();
    });
  }

  onLine(listener: (line: string) => void): void {
    for (const line of this.tail.lines) listener(line);
    this.#listeners.push(listener);
  }
}

/** What is ended on request, as the node tells it. */
class Reaping {
  readonly #survivors: string[] = [];
  readonly #told = deferred<string | undefined>();

  get told(): Promise<string | undefined> {
    return this.#told.promise;
  }

  heard(line: string): void {
    if (/^[0-9a-f]+ /.test(line)) this.#survivors.push(line);
    const end = /^ended (\d+)$/.exec(line);
    if (end !== null) this.#told.resolve(end[1] === '0' ? this.#survivors.join('\n') : undefined);
  }

  /** Nobody is there to do it. */
  giveUp(): void {
    this.#told.resolve(undefined);
  }
}

/** What the channel of a process told of its end. */
interface Told {
  readonly exited: Promise<ProcessExit>;
  readonly released: Promise<unknown>;
  readonly log: LogFeed;
  /** Listens to what will be told of it. */
  readonly reaping: () => Reaping;
}

/** The view of a detached process through the channel that tells about it. */
export class SpawnedProcess implements RemoteProcess {
  readonly pid: number;
  readonly identity: string;
  readonly logFile: string;
  readonly exited: Promise<ProcessExit>;
  readonly #channel: Channel;
  readonly #log: LogFeed;
  readonly #released: Promise<unknown>;
  readonly #reaping: () => Reaping;
  readonly #host: string;
  #isReleased = false;

  private constructor(
    channel: Channel,
    identity: string,
    { host, logFile }: { readonly host: string; readonly logFile: string },
    told: Told,
  ) {
    this.#channel = channel;
    this.#host = host;
    this.identity = identity;
    this.pid = Number.parseInt(identity, 10);
    this.logFile = logFile;
    this.exited = told.exited;
    this.#released = told.released;
    this.#reaping = told.reaping;
    this.#log = told.log;
  }

  /**
   * Resolves when the process runs. It cannot be aborted: whoever gives up must know whether there is something to
   * end. @throws CommunicationError when it could not be started
   */
  static async attach(
    channel: Channel,
    { host, logFile, renewal }: { host: string; logFile: string; renewal: Ms },
  ): Promise<SpawnedProcess> {
    const started = deferred<string>();
    const exited = deferred<ProcessExit>();
    const released = deferred<unknown>();
    let [reaping, isOver]: [Reaping | undefined, boolean] = [undefined, false];
    const said = new BoundedText(16_384);
    const control = new LineTail();
    // Its last words come on another stream than its end: the end waits for them, but not for ever.
    let ending: { readonly code: number; readonly bytes: number } | undefined;
    const settle = (late: boolean): void => {
      if (ending === undefined || !(late || log.bytes >= ending.bytes)) return;
      exited.resolve({ kind: 'code', code: ending.code });
    };
    const log = new LogFeed(channel.stdout, () => settle(false));
    channel.stdin.on('error', () => undefined);
    const timer = setInterval(() => channel.stdin.write('here\n'), renewal);
    timer.unref();
    channel.stderr.on('data', (chunk: Buffer) => {
      said.push(chunk);
      for (const line of control.push(chunk.toString('utf8'))) {
        const identity = /^started (\d+:\d*)$/.exec(line)?.[1];
        const lost = /^lost (.*)$/.exec(line)?.[1];
        if (lost !== undefined)
          exited.resolve({ kind: 'lost', cause: new Error(`its node ended it: ${lost}`) });
        if (line === 'released') released.resolve(undefined);
        reaping?.heard(line);
        const end = /^exit (\d+) +(\d+)$/.exec(line);
        if (identity !== undefined) started.resolve(identity);
        if (end === null) continue;
        ending = { code: Number(end[1]), bytes: Number(end[2]) };
        settle(false);
        setTimeout(settle, lastWords, true).unref();
      }
    });
    void channel.ended.then((end) => {
      clearInterval(timer);
      isOver = true;
      released.resolve(undefined);
      reaping?.giveUp();
      const cause = end.kind === 'lost' ? end.cause : new Error(`the channel ended (${JSON.stringify(end)})`);
      started.reject(
        new CommunicationError(
          `Could not start a process on ${host}: ${said.text.trim() || cause.message}`,
          { host },
          {
            cause,
            remedy: `Check the work directory and the connection to ${host}.`,
          },
        ),
      );
      settle(true);
      exited.resolve({ kind: 'lost', cause });
    });
    started.promise.catch(() => undefined);
    try {
      const late = (): Error => new IPCTimeoutError(`starting a process on ${host}`, startLimit / 1000);
      using limit = deadline(systemClock, startLimit, late);
      const identity = await abortable(started.promise, limit.signal);
      return new SpawnedProcess(
        channel,
        identity,
        { host, logFile },
        {
          exited: exited.promise,
          released: released.promise,
          log,
          reaping: () => {
            reaping = new Reaping();
            if (isOver) reaping.giveUp();
            return reaping;
          },
        },
      );
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  get tail(): readonly string[] {
    return this.#log.tail.lines;
  }

  get lastOutput(): Ms {
    return this.#log.lastOutput;
  }

  onLine(listener: (line: string) => void): void {
    this.#log.onLine(listener);
  }

  async end(known: readonly string[], timeout: Ms): Promise<string | undefined> {
    const late = (): Error =>
      new IPCTimeoutError(`ending owned processes on ${this.#host}`, toSeconds(timeout));
    using limit = deadline(systemClock, timeout, late);
    const { told } = this.#reaping();
    this.#channel.stdin.write(`end ${known.join(' ')}\n`);
    return await abortable(told, limit.signal);
  }

  async release(): Promise<void> {
    this.#isReleased = true;
    this.#channel.stdin.end('done\n');
    using limit = deadline(systemClock, lastWords, () => new Error('it does not tell'));
    await abortable(this.#released, limit.signal).catch(() => undefined);
    this.#channel.close();
  }

  /** Ends the telling; the process is ended by its token. */
  [Symbol.dispose](): void {
    if (!this.#isReleased) this.#channel.close();
  }
}
