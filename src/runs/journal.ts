import { appendFileSync } from 'node:fs';
import { open, readFile, truncate, type FileHandle } from 'node:fs/promises';
import { ModelEvalStateError } from '../base/errors.ts';
import { deferred, type Deferred } from '../base/condition.ts';
import type { JournalEntry } from '../parallel/records.ts';

/** `-Infinity` and its like are no JSON; the settings know them by these names. */
const numbers = (_key: string, value: unknown): unknown =>
  typeof value === 'number' && !Number.isFinite(value) ? null : value;

/** Append-only JSON Lines. What is appended at the same time is written and synced together. */
export class Journal implements AsyncDisposable {
  readonly #file: FileHandle | undefined;
  readonly #path: string;
  #queue: { readonly line: string; readonly done: Deferred<undefined> }[] = [];
  #writing: Promise<void> | undefined;

  /** Without a handle, entries are written at once and not synced: for runs that nothing real depends on. */
  private constructor(path: string, file: FileHandle | undefined) {
    this.#path = path;
    this.#file = file;
  }

  static async create(path: string, durable = true): Promise<Journal> {
    const file = await open(path, 'ax', 0o600);
    if (!durable) await file.close();
    return new Journal(path, durable ? file : undefined);
  }

  /** For going on: a last line that was torn is cut off first. */
  static async resume(path: string, intactBytes: number, durable = true): Promise<Journal> {
    await truncate(path, intactBytes);
    return new Journal(path, durable ? await open(path, 'a', 0o600) : undefined);
  }

  /** Resolves when the entry is on disk. */
  async append(entry: JournalEntry): Promise<void> {
    const line = `${JSON.stringify(entry, numbers)}\n`;
    if (this.#file === undefined) {
      appendFileSync(this.#path, line);
      return;
    }
    const done = deferred<undefined>();
    this.#queue.push({ line, done });
    this.#writing ??= this.#write(this.#file);
    return done.promise;
  }

  async #write(file: FileHandle): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      try {
        await file.appendFile(batch.map(({ line }) => line).join(''));
        await file.datasync();
        for (const { done } of batch) done.resolve(undefined);
      } catch (cause) {
        const error = new ModelEvalStateError(
          `Cannot write the journal: ${(cause as Error).message}`,
          {},
          {
            cause,
            blame: 'operator',
            remedy: 'Make room on the disk of the result directory, then go on with `optimizer resume`.',
          },
        );
        for (const { done } of batch) done.reject(error);
      }
    }
    this.#writing = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    await this.#file?.close();
  }
}

export interface JournalContent {
  readonly entries: readonly JournalEntry[];
  /** Where the last whole line ends. */
  readonly intactBytes: number;
}

/** @throws with the line number where the inside is damaged; a torn last line is left out */
export async function readJournal(path: string): Promise<JournalContent> {
  const bytes = await readFile(path);
  const intactBytes = bytes.lastIndexOf(0x0a) + 1;
  const lines = bytes.subarray(0, intactBytes).toString('utf8').split('\n').slice(0, -1);
  const entries = lines.map((line, index) => {
    try {
      return JSON.parse(line) as JournalEntry;
    } catch (cause) {
      throw new ModelEvalStateError(
        `${path}:${index + 1} is damaged: ${line.slice(0, 80)}`,
        {},
        {
          cause,
          blame: 'operator',
          remedy: `The lines before it are intact: \`head -n ${index}\` of the file is a journal that can be resumed.`,
        },
      );
    }
  });
  return { entries, intactBytes };
}
