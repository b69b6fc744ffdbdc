import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { journalText, repaired, scanJournal, type Damage } from './journal-content.ts';
import { lockRun } from './lock.ts';

export interface Repair {
  readonly journal: string;
  readonly damaged: readonly Damage[];
  /** Of a last line that was not written to its end. */
  readonly tornBytes: number;
  /** Entries before the damage. */
  readonly kept: number;
  /** Measurements behind it. */
  readonly recovered: number;
  /** Where the journal is now as it was; undefined: nothing was changed. */
  readonly original: string | undefined;
}

/**
 * Mends a journal whose inside is damaged, and keeps it as it was beside it.
 * @throws ConfigurationError where somebody writes it
 */
export async function repairJournal(directory: string, isDryRun: boolean, now: Date): Promise<Repair> {
  const lock = lockRun(join(directory, 'lock'), now);
  try {
    return await mend(directory, isDryRun, now);
  } finally {
    lock[Symbol.dispose]();
  }
}

async function mend(directory: string, isDryRun: boolean, now: Date): Promise<Repair> {
  const journal = join(directory, 'journal.jsonl');
  const bytes = readFileSync(journal);
  const content = scanJournal(bytes);
  const entries = repaired(content);
  const found = {
    journal,
    damaged: content.damaged,
    tornBytes: bytes.length - content.intactBytes,
    kept: content.entries.length,
    recovered: entries.length - content.entries.length,
  };
  if (isDryRun || content.damaged.length === 0) return { ...found, original: undefined };
  const original = join(
    directory,
    `journal.damaged-${now.toISOString().replace(/\D/g, '').slice(0, 14)}.jsonl`,
  );
  // The mended one is whole before the damaged one gives way: there is a journal at any moment.
  await writeFileAtomic(`${journal}.mended`, journalText(entries), { mode: 0o600 });
  renameSync(journal, original);
  renameSync(`${journal}.mended`, journal);
  return { ...found, original };
}
