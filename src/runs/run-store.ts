import { appendFileSync, cpSync, readdirSync, statSync } from 'node:fs';
import { appendFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { TrialId } from '../base/units.ts';
import type { Field } from '../core/space/field.ts';
import type { RunStore } from '../parallel/ports.ts';
import type { JournalEntry } from '../parallel/records.ts';
import { makeDirectory } from './directory.ts';
import { csvHeader, csvRow, ourColumns, rowOf } from './csv.ts';
import { readJournal, type JournalContent } from './journal-content.ts';
import { Journal, type Patience } from './journal.ts';
import { lockRun } from './lock.ts';

export interface RunPaths {
  readonly output: string;
  readonly directory: string;
  readonly journal: string;
  readonly settings: string;
  readonly log: string;
  readonly summary: string;
  readonly report: string;
  readonly best: string;
  readonly csv: string;
}

export function runPaths(output: string, runId: string, csv: string): RunPaths {
  const directory = join(output, 'runs', runId);
  return {
    output,
    directory,
    journal: join(directory, 'journal.jsonl'),
    settings: join(directory, 'settings.json'),
    log: join(directory, 'optimizer.log'),
    summary: join(directory, 'summary.json'),
    report: join(directory, 'report.html'),
    best: join(directory, 'best'),
    csv,
  };
}

const backupLimitBytes = 1024 ** 3;

function sizeOf(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}

export interface StoreOptions {
  readonly fields: readonly Field[];
  readonly backups: boolean;
  /** Synced before anything goes on; a simulation writes at once instead, so that nothing waits but its clock. */
  readonly durable: boolean;
  readonly patience: Patience;
}

type ToldEntry = Extract<JournalEntry, { type: 'told' }>;

/** A run on disk: the journal is the truth, everything else can be made from it again. */
export class FileRunStore implements RunStore {
  readonly runId: string;
  readonly paths: RunPaths;
  readonly #fields: readonly Field[];
  readonly #backups: boolean;
  readonly #durable: boolean;
  readonly #note: Patience['note'];
  /** Tables and files of trials are not the truth: a run goes on without them. */
  #csvIsBehind = false;
  /** Rows that are on their way to the table. */
  #rows: Promise<void> = Promise.resolve();
  /** Of the trial whose files were kept last. */
  #lastKept = '';
  #hasComplained = false;
  readonly #journal: Journal;
  readonly #lock: Disposable;
  readonly #entries: JournalEntry[];

  private constructor(
    runId: string,
    paths: RunPaths,
    options: StoreOptions,
    open: { journal: Journal; lock: Disposable; entries: readonly JournalEntry[] },
  ) {
    this.runId = runId;
    this.paths = paths;
    this.#fields = options.fields;
    this.#backups = options.backups;
    this.#durable = options.durable;
    this.#note = options.patience.note;
    this.#journal = open.journal;
    this.#lock = open.lock;
    this.#entries = [...open.entries];
  }

  get directory(): string {
    return this.paths.directory;
  }

  static async create(
    runId: string,
    paths: RunPaths,
    options: StoreOptions,
    now: Date,
  ): Promise<FileRunStore> {
    makeDirectory(join(paths.directory, 'trials'), 0o700);
    const lock = lockRun(join(paths.directory, 'lock'), now);
    const journal = await Journal.create(paths.journal, options.durable, options.patience);
    const store = new FileRunStore(runId, paths, options, { journal, lock, entries: [] });
    await store.#rewriteCsv();
    return store;
  }

  /** Goes on with a run; @throws when another process writes it or its inside is damaged */
  static async resume(
    runId: string,
    paths: RunPaths,
    options: StoreOptions,
    now: Date,
  ): Promise<FileRunStore> {
    const lock = lockRun(join(paths.directory, 'lock'), now);
    try {
      const content: JournalContent = await readJournal(paths.journal);
      const journal = await Journal.resume(
        paths.journal,
        content.intactBytes,
        options.durable,
        options.patience,
      );
      const store = new FileRunStore(runId, paths, options, { journal, lock, entries: content.entries });
      await store.#rewriteCsv();
      return store;
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
  }

  /** All entries so far, those of earlier sessions included. */
  get entries(): readonly JournalEntry[] {
    return this.#entries;
  }

  async append(given: JournalEntry): Promise<void> {
    const entry = given.type === 'told' ? { ...given, backup: this.#backUp(given.record.trial_id) } : given;
    await this.#journal.append(entry);
    this.#entries.push(entry);
    if (entry.type !== 'told') return;
    // The journal has it: nobody waits for the table, whose rows come in the same order.
    if (this.#durable) this.#rows = this.#rows.then(async () => this.#addRow(entry));
    else await this.#addRow(entry);
  }

  async #addRow(entry: ToldEntry): Promise<void> {
    try {
      if (this.#csvIsBehind) await this.#rewriteCsv(entry);
      else if (this.#durable) await appendFile(this.paths.csv, this.#csvRow(entry));
      else appendFileSync(this.paths.csv, this.#csvRow(entry));
      this.#csvIsBehind = false;
    } catch (error) {
      this.#csvIsBehind = true;
      this.#complain(error);
    }
  }

  /** A file that cannot be kept costs no measurement. What a simulation would keep says no more than its journal. */
  async keep(trialId: TrialId, name: string, content: () => string): Promise<void> {
    if (!this.#durable) return;
    try {
      await this.#keep(trialId, name, content());
    } catch (error) {
      this.#complain(error);
    }
  }

  #complain(error: unknown): void {
    if (!this.#hasComplained) this.#note(`not all files can be kept: ${(error as Error).message}`);
    this.#hasComplained = true;
  }

  async #keep(trialId: TrialId, name: string, content: string): Promise<void> {
    const directory = join(this.paths.directory, 'trials', String(trialId));
    if (this.#lastKept !== directory) makeDirectory(directory, 0o700);
    this.#lastKept = directory;
    const file = join(directory, name);
    try {
      await writeFile(file, content, { mode: 0o600 });
    } catch (error) {
      // A half of it would be taken for the whole.
      await rm(file, { force: true });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#journal[Symbol.asyncDispose]();
    await this.#rows;
    if (this.#csvIsBehind) await this.#rewriteCsv().catch(() => undefined); // resume makes it again
    this.#lock[Symbol.dispose]();
  }

  get #names(): string[] {
    return this.#fields.map((field) => field.name);
  }

  #csvRow({ record, backup }: ToldEntry): string {
    return csvRow(rowOf(record, this.#fields, backup ?? null), this.#names);
  }

  /** Copies the trial's files to `<output>/bak/<n>` until the backups of all runs have 1 GiB. */
  #backUp(trialId: TrialId): string | null {
    if (!this.#backups) return null;
    try {
      const root = join(this.paths.output, 'bak');
      makeDirectory(root, 0o750);
      if (sizeOf(root) > backupLimitBytes) return null;
      const from = join(this.paths.directory, 'trials', String(trialId));
      const numbers = readdirSync(root).map(Number).filter(Number.isInteger);
      const to = join(root, String(Math.max(-1, ...numbers) + 1));
      cpSync(from, to, { recursive: true });
      return relative(this.paths.output, to);
    } catch {
      return null; // a trial that left no files has nothing to back up
    }
  }

  /** @param last the rest will be added */
  async #rewriteCsv(last?: ToldEntry): Promise<void> {
    const count = last === undefined ? this.#entries.length : this.#entries.lastIndexOf(last) + 1;
    const rows = this.#entries
      .slice(0, count)
      .flatMap((entry) => (entry.type === 'told' ? [this.#csvRow(entry)] : []));
    makeDirectory(dirname(this.paths.csv), 0o750);
    await writeFileAtomic(this.paths.csv, csvHeader(this.#names, ourColumns) + rows.join(''), {
      mode: 0o600,
      fsync: false,
    });
  }
}
