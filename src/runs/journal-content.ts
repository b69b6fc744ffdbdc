import { readFile } from 'node:fs/promises';
import { ModelEvalStateError } from '../base/errors.ts';
import type { JournalEntry } from '../parallel/records.ts';
import { parseEntry } from './entry-schema.ts';

/** Numbers that are not finite become null, as in all JSON. */
export const lineOf = (entry: JournalEntry): string => `${JSON.stringify(entry)}\n`;

export interface Damage {
  /** From 1. */
  readonly line: number;
  readonly why: string;
}

export interface JournalContent {
  /** Those before the first damage. */
  readonly entries: readonly JournalEntry[];
  /** Where the last whole line ends. */
  readonly intactBytes: number;
  readonly damaged: readonly Damage[];
  /** What is whole behind the first damage. */
  readonly later: readonly JournalEntry[];
}

/** What is whole in the bytes of a journal; a torn last line is left out. Never throws. */
export function scanJournal(bytes: Buffer): JournalContent {
  const intactBytes = bytes.lastIndexOf(0x0a) + 1;
  const lines = bytes.subarray(0, intactBytes).toString('utf8').split('\n').slice(0, -1);
  const [entries, later, damaged]: [JournalEntry[], JournalEntry[], Damage[]] = [[], [], []];
  for (const [index, line] of lines.entries()) {
    const entry = parseEntry(line);
    if (typeof entry === 'string') damaged.push({ line: index + 1, why: entry });
    else (damaged.length === 0 ? entries : later).push(entry);
  }
  return { entries, later, damaged, intactBytes };
}

/** @throws with the line number where the inside is damaged; a torn last line is left out */
export async function readJournal(path: string): Promise<JournalContent> {
  const content = scanJournal(await readFile(path));
  const [first] = content.damaged;
  if (first === undefined) return content;
  const found = content.later.filter(({ type }) => type === 'told').length;
  throw new ModelEvalStateError(
    `${path}:${first.line} is damaged: ${first.why}`,
    {},
    {
      blame: 'operator',
      remedy: `\`optimizer runs repair\` keeps the ${content.entries.length} entries before it, and ${found} measurement${found === 1 ? '' : 's'} behind it.`,
    },
  );
}

const isTold = (entry: JournalEntry): entry is Extract<JournalEntry, { type: 'told' }> =>
  entry.type === 'told';

/**
 * The entries of a journal whose inside was damaged: those before the damage, and what was measured behind it. The
 * search asks again from there, and what it asks that was measured is not measured again.
 */
export function repaired({ entries, later }: JournalContent): JournalEntry[] {
  const recovered = later.filter(isTold).filter(({ record }) => record.verdict.kind !== 'failed');
  return [...entries, ...recovered.map(({ at, record }) => ({ type: 'recovered' as const, at, record }))];
}

export const journalText = (entries: readonly JournalEntry[]): string => entries.map(lineOf).join('');
