import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { ConfigurationError } from './base/errors.ts';
import { toldIn, type JournalEntry, type TrialRecord } from './parallel/records.ts';
import { runIds, runNamed } from './runs/catalog.ts';
import { readJournal } from './runs/journal-content.ts';
import { isWritten } from './runs/lock.ts';
import { startOf, stateOf, type RunStarted } from './run-report.ts';
import type { Summary } from './report/summary.ts';

/** A run as its journal tells of it. */
export interface SavedStudy {
  readonly runId: string;
  readonly directory: string;
  readonly entries: readonly JournalEntry[];
  readonly start: RunStarted;
  readonly told: readonly TrialRecord[];
  readonly summary: Summary;
  /** `running`: a process writes it now; `killed`: none does, and it never said its end. */
  readonly status: Summary['status'] | 'running' | 'killed';
}

/** The files that the end of the run left, by the names of summary.json. */
function artifactsOf(directory: string): Summary['artifacts'] {
  try {
    return (JSON.parse(readFileSync(join(directory, 'summary.json'), 'utf8')) as Summary).artifacts;
  } catch {
    return {}; // it goes on, or its end did not come
  }
}

/** @returns undefined where the run never began. @throws where its journal is damaged */
async function read(directory: string): Promise<SavedStudy | undefined> {
  const { entries } = await readJournal(join(directory, 'journal.jsonl'));
  const start = startOf(entries);
  if (start === undefined) return undefined;
  const { summary, isRunning } = stateOf(entries, artifactsOf(directory));
  const unfinished = isWritten(join(directory, 'lock')) ? 'running' : 'killed';
  return {
    runId: start.run_id,
    ...{ directory, entries, start, summary },
    told: toldIn(entries),
    status: isRunning ? unfinished : summary.status,
  };
}

/** A run by its id, by its directory, or the newest one. @throws ConfigurationError */
export async function studyNamed(output: string, named: string | undefined): Promise<SavedStudy> {
  const isDirectory = named !== undefined && existsSync(join(named, 'journal.jsonl'));
  const directory = isDirectory ? resolve(named) : join(output, 'runs', runNamed(output, named));
  const study = await read(directory);
  if (study === undefined)
    throw new ConfigurationError(
      `Run ${basename(directory)} never began: it has no results`,
      {},
      { remedy: 'optimizer runs list shows the runs that have.' },
    );
  return study;
}

export interface UnreadableRun {
  readonly runId: string;
  readonly why: string;
}

/** All runs of a result directory, the newest first. */
export async function allStudies(output: string): Promise<readonly (SavedStudy | UnreadableRun)[]> {
  const all: (SavedStudy | UnreadableRun)[] = [];
  for (const runId of runIds(output)) {
    try {
      const study = await read(join(output, 'runs', runId));
      if (study !== undefined) all.push(study);
    } catch (error) {
      all.push({ runId, why: (error as Error).message });
    }
  }
  return all;
}

/** Where `optimizer` looks for a run: the result directory that it is in. */
export const outputOf = ({ directory }: SavedStudy): string => dirname(dirname(directory));
