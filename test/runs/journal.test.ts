import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import type { JournalEntry } from '../../src/parallel/records.ts';
import { readJournal } from '../../src/runs/journal-content.ts';
import { Journal } from '../../src/runs/journal.ts';
import { lockRun } from '../../src/runs/lock.ts';

const entry = (n: number): JournalEntry => ({
  type: 'run-ended',
  at: String(n),
  status: 'completed',
  error: null,
});
const file = (): string => join(mkdtempSync(join(tmpdir(), 'optimizer-journal-')), 'journal.jsonl');

test('entries appended at the same time all get there, in order', async () => {
  const path = file();
  {
    await using journal = await Journal.create(path);
    await Promise.all(Array.from({ length: 50 }, async (_, i) => journal.append(entry(i))));
  }
  const { entries } = await readJournal(path);
  expect(entries.map(({ at }) => at)).toEqual(Array.from({ length: 50 }, (_, i) => String(i)));
});

test('what follows in the same turn is synced together with what it follows from', async () => {
  const path = file();
  const any = await open(`${path}.any`, 'w');
  const synced = vi.spyOn(Object.getPrototypeOf(any) as FileHandle, 'datasync');
  await any.close();
  {
    await using journal = await Journal.create(path);
    const told = journal.append(entry(0));
    for (let step = 0; step < 50; step++) await Promise.resolve();
    await Promise.all([told, journal.append(entry(1))]);
  }
  expect(synced).toHaveBeenCalledTimes(1);
  synced.mockRestore();
  expect((await readJournal(path)).entries).toHaveLength(2);
});

test('torn at every byte of its last line, the others survive and it can go on', async () => {
  const whole = `${JSON.stringify(entry(0))}\n`;
  const last = `${JSON.stringify(entry(1))}\n`;
  for (let cut = 0; cut < last.length; cut++) {
    const path = file();
    writeFileSync(path, whole + last.slice(0, cut));
    const { entries, intactBytes } = await readJournal(path);
    expect(entries).toEqual([entry(0)]);
    {
      await using journal = await Journal.resume(path, intactBytes);
      await journal.append(entry(2));
    }
    expect((await readJournal(path)).entries).toEqual([entry(0), entry(2)]);
  }
});

test('damage inside is reported with its line', async () => {
  const path = file();
  writeFileSync(path, `${JSON.stringify(entry(0))}\n`);
  appendFileSync(path, `{"type":\n${JSON.stringify(entry(1))}\n`);
  await expect(readJournal(path)).rejects.toThrow(/journal\.jsonl:2 is damaged/);
});

test('one writer: a second one is told who the first is, a dead one is no obstacle', () => {
  const path = join(mkdtempSync(join(tmpdir(), 'optimizer-lock-')), 'lock');
  const held = lockRun(path, new Date(0));
  expect(() => lockRun(path, new Date(0))).toThrow(new RegExp(`process ${process.pid} of`));
  held[Symbol.dispose]();
  const dead = {
    pid: 1,
    started: 'never',
    host: JSON.parse(JSON.stringify(readFileSync('/proc/sys/kernel/hostname', 'utf8').trim())) as string,
    user: 'x',
    at: '',
  };
  writeFileSync(path, JSON.stringify(dead));
  lockRun(path, new Date(0))[Symbol.dispose]();
});
