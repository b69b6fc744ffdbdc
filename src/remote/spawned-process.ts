import { StringDecoder } from 'node:string_decoder';
import { deferred } from '../base/condition.ts';
import { abortable } from '../base/cancellation.ts';
import { CommunicationError } from '../base/errors.ts';
import { ms, type Ms } from '../base/units.ts';
import type { ProcessExit, RemoteProcess } from '../parallel/ports.ts';
import { BoundedText, LineTail } from './bounded-text.ts';
import type { Channel } from './transport.ts';

/** The view of a detached process through the channel that tells about it. */
export class SpawnedProcess implements RemoteProcess {
  readonly pid: number;
  readonly logFile: string;
  readonly exited: Promise<ProcessExit>;
  readonly #channel: Channel;
  readonly #log: LineTail;
  readonly #listeners: ((line: string) => void)[] = [];
  #lastOutput: Ms;

  private constructor(channel: Channel, pid: number, logFile: string, exited: Promise<ProcessExit>) {
    this.#channel = channel;
    this.pid = pid;
    this.logFile = logFile;
    this.exited = exited;
    this.#log = new LineTail();
    this.#lastOutput = ms(performance.now());
    const decoder = new StringDecoder('utf8');
    channel.stdout.on('data', (chunk: Buffer) => {
      this.#lastOutput = ms(performance.now());
      for (const line of this.#log.push(decoder.write(chunk))) {
        for (const listener of this.#listeners) listener(line);
      }
    });
  }

  /** Resolves when the process runs. @throws CommunicationError when it could not be started */
  static async attach(
    channel: Channel,
    { host, logFile, signal }: { host: string; logFile: string; signal: AbortSignal },
  ): Promise<SpawnedProcess> {
    const started = deferred<number>();
    const exited = deferred<ProcessExit>();
    const said = new BoundedText(16_384);
    const control = new LineTail();
    channel.stdin.on('error', () => undefined);
    channel.stderr.on('data', (chunk: Buffer) => {
      said.push(chunk);
      for (const line of control.push(chunk.toString('utf8'))) {
        const pid = /^started (\d+)$/.exec(line)?.[1];
        const code = /^exit (\d+)$/.exec(line)?.[1];
        if (pid !== undefined) started.resolve(Number(pid));
        if (code !== undefined) exited.resolve({ kind: 'code', code: Number(code) });
      }
    });
    void channel.ended.then((end) => {
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
      exited.resolve({ kind: 'lost', cause });
    });
    started.promise.catch(() => undefined);
    try {
      const pid = await abortable(started.promise, signal);
      return new SpawnedProcess(channel, pid, logFile, exited.promise);
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  get tail(): readonly string[] {
    return this.#log.lines;
  }

  get lastOutput(): Ms {
    return this.#lastOutput;
  }

  onLine(listener: (line: string) => void): void {
    for (const line of this.#log.lines) listener(line);
    this.#listeners.push(listener);
  }

  /** Ends the telling; the process is ended by its token. */
  [Symbol.dispose](): void {
    this.#channel.close();
  }
}
