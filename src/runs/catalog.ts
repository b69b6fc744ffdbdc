import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigurationError } from '../base/errors.ts';
import type { SettingsInput } from '../config/settings.ts';
import type { HostEntry } from '../config/host-syntax.ts';
import { didYouMean } from '../config/problems.ts';
import { readJournal } from './journal-content.ts';

/** What settings.json keeps: enough to resolve the same settings again. */
export interface SavedRun {
  readonly schema: 1;
  readonly run_id: string;
  readonly version: string;
  readonly csv: string;
  readonly input: SettingsInput;
}

/** Newest first. */
export function runIds(output: string): string[] {
  const root = join(output, 'runs');
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .filter((name) => existsSync(join(root, name, 'journal.jsonl')))
    .sort()
    .reverse();
}

export function readSavedRun(output: string, runId: string): SavedRun {
  const file = join(output, 'runs', runId, 'settings.json');
  try {
    return withHostEntries(JSON.parse(readFileSync(file, 'utf8')) as SavedRun);
  } catch (cause) {
    throw new ConfigurationError(
      `Cannot read ${file}: ${(cause as Error).message}`,
      {},
      {
        cause,
        remedy: 'Only a run with its settings can go on; start a new one.',
      },
    );
  }
}

/** Runs of version 0.1 have names alone. */
function withHostEntries(saved: SavedRun): SavedRun {
  const { hosts } = saved.input;
  if (hosts === undefined) return saved;
  const groups = hosts.groups.map((group) => ({
    ...group,
    hosts: (group.hosts as readonly (HostEntry | string)[]).map((one) =>
      typeof one === 'string' ? { host: one } : one,
    ),
  }));
  return { ...saved, input: { ...saved.input, hosts: { ...hosts, groups } } };
}

/** The demo keeps its run apart from yours. */
export function whereRunsAre(output: string): string {
  const demo = join(output, 'demo');
  return runIds(demo).length > 0 ? `The demo's run is there with --output ${demo}.` : 'Check --output.';
}

async function hasEnded(output: string, runId: string): Promise<boolean> {
  const { entries } = await readJournal(join(output, 'runs', runId, 'journal.jsonl'));
  const last = entries.at(-1);
  return last?.type === 'run-ended' && !['interrupted', 'failed'].includes(last.status);
}

/** The named run, or the newest one. @throws ConfigurationError */
export function runNamed(output: string, named: string | undefined): string {
  const ids = runIds(output);
  const [newest] = ids;
  if (newest === undefined) {
    const which = named === undefined ? 'run' : `run '${named}'`;
    throw new ConfigurationError(`There is no ${which} in ${output}`, {}, { remedy: whereRunsAre(output) });
  }
  if (named !== undefined && !ids.includes(named)) {
    throw new ConfigurationError(
      `There is no run '${named}' in ${output}${didYouMean(named, ids)}`,
      {},
      { remedy: `Runs there: ${ids.slice(0, 5).join(', ')}.` },
    );
  }
  return named ?? newest;
}

/** The named run, or the newest one that did not get to its end. @throws ConfigurationError */
export async function runToResume(output: string, named: string | undefined): Promise<string> {
  const ids = runIds(output);
  if (named !== undefined) {
    runNamed(output, named);
    if (await hasEnded(output, named)) {
      throw new ConfigurationError(
        `Run ${named} is complete`,
        {},
        { remedy: 'Start a new run to go further.' },
      );
    }
    return named;
  }
  for (const id of ids) {
    if (!(await hasEnded(output, id))) return id;
  }
  throw new ConfigurationError(
    `There is no unfinished run in ${output}`,
    {},
    {
      remedy: 'Give its result directory with --output, or start a new run without --load-breakpoint.',
    },
  );
}

/** The newest run of a result directory, finished or not. */
export function newestRun(output: string): string | undefined {
  return runIds(output)[0];
}
