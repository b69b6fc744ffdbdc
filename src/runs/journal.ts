import { writeSync } from 'node:fs';
import { open, truncate, type FileHandle } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemClock } from '../base/clock.ts';
import { ModelEvalStateError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import { deferred, type Deferred } from '../base/condition.ts';
import type { JournalEntry } from '../parallel/records.ts';
import { lineOf } from './journal-content.ts';

/** How a journal tells of a disk that is full, and what ends the waiting for room on it. */
export interface Patience {
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
}

const isFull = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT'].includes(String((error as NodeJS.ErrnoException).code));

const untilNextTry = ms(2000);

function unwritable(path: string, cause: unknown): ModelEvalStateError {
  return new ModelEvalStateError(
    `Cannot write ${path}: ${(cause as Error).message}`,
    {},
    {
      cause,
      blame: 'operator',
      remedy: 'Make room on the disk of the result directory, then go on with `optimizer resume`.',
    },
  );
}

/** Append-only JSON Lines. What is appended at the same time is written and synced together. */
export class Journal implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #durable: boolean;
  readonly #path: string;
  readonly #patience: Patience | undefined;
  /** What is whole in the file. */
  #bytes: number;
  #queue: { readonly line: string; readonly done: Deferred<undefined> }[] = [];
  #writing: Promise<void> | undefined;

  /** What need not be durable is written at once and not synced: of runs that nothing real depends on. */
  private constructor(path: string, file: FileHandle, bytes: number, durable: boolean, patience?: Patience) {
    this.#path = path;
    this.#file = file;
    this.#bytes = bytes;
    this.#durable = durable;
    this.#patience = patience;
  }

  static async create(path: string, durable = true, patience?: Patience): Promise<Journal> {
    const file = await open(path, 'ax', 0o600);
    return new Journal(path, file, 0, durable, patience);
  }

  /** For going on: a last line that was torn is cut off first. */
  static async resume(
    path: string,
    intactBytes: number,
    durable = true,
    patience?: Patience,
  ): Promise<Journal> {
    await truncate(path, intactBytes);
    return new Journal(path, await open(path, 'a', 0o600), intactBytes, durable, patience);
  }

  /** Resolves when the entry is on disk. While the disk is full it waits. */
  async append(entry: JournalEntry): Promise<void> {
    const line = lineOf(entry);
    if (!this.#durable) {
      try {
        writeSync(this.#file.fd, line);
      } catch (cause) {
        throw unwritable(this.#path, cause);
      }
      return;
    }
    const done = deferred<undefined>();
    this.#queue.push({ line, done });
    this.#writing ??= this.#write(this.#file);
    return done.promise;
  }

  async #write(file: FileHandle): Promise<void> {
    while (this.#queue.length > 0) {
      // What follows from an answer is asked in the same turn: both are synced together.
      await nextTurn();
      const batch = this.#queue;
      this.#queue = [];
      try {
        await this.#writeWhole(file, batch.map(({ line }) => line).join(''));
        for (const { done } of batch) done.resolve(undefined);
      } catch (cause) {
        const error = unwritable(this.#path, cause);
        for (const { done } of batch) done.reject(error);
      }
    }
    this.#writing = undefined;
  }

  /** All of it or nothing: what a full disk took only a part of is taken back, and written when there is room. */
  async #writeWhole(file: FileHandle, text: string): Promise<void> {
    for (let waited = false; ; waited = true) {
      try {
        await file.appendFile(text);
        await file.datasync();
        this.#bytes += Buffer.byteLength(text);
        if (waited) this.#patience?.note('there is room for the journal again: going on');
        return;
      } catch (cause) {
        await file.truncate(this.#bytes).catch(() => undefined);
        if (this.#patience === undefined || !isFull(cause)) throw cause;
        const { note, signal } = this.#patience;
        if (signal.aborted) throw cause;
        if (!waited)
          note(`PAUSED: no room for ${this.#path}; nothing is lost, the run goes on when there is some`);
        await systemClock.sleep(untilNextTry, signal).catch(() => undefined);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }
}
