import { expect } from 'vitest';
import type { JournalEntry, TrialRecord } from '../../src/parallel/records.ts';
import { waitFor, type Project } from '../support/project.ts';

/** What holds whatever breaks, looked at in the process table, the journal and the table. */

export const toldIn = (journal: readonly JournalEntry[]): TrialRecord[] =>
  journal.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));

/** Every trial has a verdict, once, in the journal and in the table; no configuration was measured twice. */
export function expectAllTold(project: Project, trials: number): void {
  const told = toldIn(project.journal());
  const ids = told.map(({ trial_id }) => trial_id as number).sort((a, b) => a - b);
  expect(ids).toEqual(Array.from({ length: trials }, (_, id) => id));
  const rows = project.rows().map((row) => Number(row['trial_id']));
  expect(rows.sort((a, b) => a - b)).toEqual(ids);
  const measured = told
    .filter(({ reused_from, confirms }) => reused_from === null && confirms === null)
    .map(({ params }) => JSON.stringify(params));
  expect(new Set(measured).size).toBe(measured.length);
}

/** Nothing of the run is alive on any node: at once, or within the time that a guardian takes. */
export async function expectNothingLeft(project: Project, limitMs = 3000): Promise<void> {
  const began = performance.now();
  try {
    await waitFor(() => project.traces().length === 0, 'a quiet cluster', limitMs);
  } catch {
    expect(project.traces()).toEqual([]);
  }
  expect(performance.now() - began).toBeLessThan(limitMs + 1000);
}

/** Calls back once, when the run has said something that matches on its stream of events. */
export function onEvent(stream: NodeJS.ReadableStream | null, moment: RegExp, then: () => void): void {
  let [seen, done] = ['', false];
  stream?.on('data', (chunk: Buffer) => {
    seen += chunk.toString();
    if (done || !moment.test(seen)) return;
    done = true;
    then();
  });
}
