import { groupsIn } from './report/group-summary.ts';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { settleAll } from './base/cancellation.ts';
import { isTable } from './config/toml.ts';
import { redactSecrets } from './base/redact.ts';
import type { LaunchPlan } from './parallel/ports.ts';
import {
  isScored,
  toldIn,
  type ErrorRecord,
  type JournalEntry,
  type RunStatus,
  type TrialRecord,
} from './parallel/records.ts';
import { quote } from './remote/quote.ts';
import type { ScoredStatistics } from './report/comparison.ts';
import { reportDocument, type LaunchCommand } from './report/document.ts';
import { optunaJournal } from './report/optuna.ts';
import { paretoTable } from './report/pareto.ts';
import { summarize, type Summary } from './report/summary.ts';
import { processLine } from './runs/launch-script.ts';
import type { SavedRun } from './runs/catalog.ts';

/** What can be made of a run's directory at any time, while it goes on as well. */

const names = { report: 'report.html', pareto: 'pareto.csv', optuna: 'optuna-journal.log' } as const;

const exitCodeOf: Readonly<Record<RunStatus, number>> = {
  completed: 0,
  budget: 0,
  no_feasible: 1,
  failed: 3,
  interrupted: 130,
};

export type RunStarted = Extract<JournalEntry, { type: 'run-started' }>;

export const startOf = (entries: readonly JournalEntry[]): RunStarted | undefined =>
  entries.find((entry) => entry.type === 'run-started');

export interface RunState {
  readonly summary: Summary;
  /** As far as the journal says: a run that was killed looks like one that goes on. */
  readonly isRunning: boolean;
}

/** The state of a run by its journal alone. */
export function stateOf(entries: readonly JournalEntry[], artifacts: Summary['artifacts'] = {}): RunState {
  const last = entries.at(-1);
  const isRunning = last?.type !== 'run-ended';
  const ending: { status: RunStatus; error: ErrorRecord | null } = isRunning
    ? { status: 'interrupted', error: null }
    : last;
  const at = last?.at ?? '';
  return {
    summary: summarize(entries, { ...ending, at, exitCode: exitCodeOf[ending.status] }, artifacts),
    isRunning,
  };
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined; // an older run, or one whose files were cleared away
  }
}

/** undefined as well where a full disk or a kill left a half of it: a report does not fail for that. */
function readJson(file: string): unknown {
  try {
    return JSON.parse(readText(file) ?? '');
  } catch {
    return undefined;
  }
}

/** How a trial's service was started, as far as that was kept. */
export const planOf = (directory: string, trial: number): LaunchPlan | undefined =>
  readJson(join(directory, 'trials', String(trial), 'plan.json')) as LaunchPlan | undefined;

/** How every node of the recommended service is started, as its trial did. */
function launchOf(directory: string, { best, groups }: Summary): LaunchCommand[] {
  if (best === null) return [];
  // As best/launch.sh has it, once that is written.
  const written = readJson(join(directory, 'best', 'plan.json')) as LaunchPlan | undefined;
  const plan = written ?? planOf(directory, best.trial_id);
  const hosts = groups.find(({ group_id }) => group_id === best.group_id)?.hosts ?? [];
  return (plan?.stages ?? []).flatMap(({ processes }) =>
    processes.map((process) => ({
      host: hosts[process.rank] ?? `node ${process.rank}`,
      role: process.role,
      command: processLine(process, quote),
    })),
  );
}

const logLimit = 2000;
const servedLogLimit = 600;
const roomInPage = 400_000;

/** A text of each trial with files, as far as there is room for all of them. Simulated trials have no files. */
function bounded(
  directory: string,
  trials: readonly TrialRecord[],
  textOf: (trial: TrialRecord) => string | undefined,
): Record<number, string> {
  const texts: Record<number, string> = {};
  const kept = join(directory, 'trials');
  const withFiles = new Set(existsSync(kept) ? readdirSync(kept) : []);
  let left = roomInPage;
  for (const trial of trials.filter(({ trial_id: id }) => withFiles.has(String(id)))) {
    if (left <= 0) break;
    const text = textOf(trial);
    if (text === undefined || text === '') continue;
    texts[trial.trial_id] = text;
    left -= text.length;
  }
  return texts;
}

/** Those that could not be served first, the newest first: their logs say why. */
function inOrderOfInterest(entries: readonly JournalEntry[]): TrialRecord[] {
  const newest = toldIn(entries).reverse();
  const isServed = (record: TrialRecord): boolean => record.verdict.kind === 'scored';
  return [...newest.filter((one) => !isServed(one)), ...newest.filter(isServed)];
}

const logsOf = (directory: string, trials: readonly TrialRecord[]): Record<number, string> =>
  bounded(directory, trials, ({ trial_id, verdict }) =>
    readText(join(directory, 'trials', String(trial_id), 'service.log'))
      ?.slice(verdict.kind === 'scored' ? -servedLogLimit : -logLimit)
      .trim(),
  );

const plansOf = (directory: string, trials: readonly TrialRecord[]): Record<number, string> =>
  bounded(directory, trials, ({ trial_id }) =>
    planOf(directory, trial_id)
      ?.stages.flatMap(({ processes }) => processes.map((one) => processLine(one, quote)))
      .join('\n'),
  );

/** Keys of an engine's table that are shown elsewhere. */
const shownElsewhere = ['target_field', 'fields', 'presets'];

/** What the run was made with: where its numbers hold. */
function settingOf(
  run: RunStarted,
  entries: readonly JournalEntry[],
  saved: SavedRun | undefined,
): [string, string][] {
  const values = saved?.input.document.values ?? {};
  const tables = [run.engine, run.benchmark].flatMap((name): [string, string][] => {
    const table = values[name];
    if (!isTable(table)) return [];
    const pairs = Object.entries(table).filter(([key]) => !shownElsewhere.includes(key));
    return pairs.length === 0
      ? []
      : [
          [
            `[${name}]`,
            pairs.map(([key, value]) => `${key} = ${JSON.stringify(value, redactSecrets)}`).join('\n'),
          ],
        ];
  });
  const hosts = groupsIn(entries).map(
    ({ group_id, hosts: members }) => `group ${group_id}: ${members.join(', ')}`,
  );
  const groups = entries.flatMap((entry) => ('groups' in entry ? entry.groups : []));
  const hardware = new Set(groups.flatMap((group) => group.hardware ?? []));
  const versions = new Set(
    toldIn(entries)
      .filter(isScored)
      .flatMap(({ verdict }) => verdict.engine_version ?? []),
  );
  const told = (found: ReadonlySet<string>): string =>
    found.size === 0 ? 'nothing on the nodes told' : [...found].join('\n');
  return [
    ['engine', run.engine],
    ['engine version', versions.size === 0 ? 'the service does not tell' : told(versions)],
    ['accelerators', told(hardware)],
    ['benchmark', run.benchmark],
    ...tables,
    ['groups', hosts.slice(0, 40).join('\n')],
    ['seed', String(run.seed)],
    ['optimizer', run.version],
    ['setup', run.setup ?? 'unknown'],
    ['began', run.at],
  ];
}

/** Where the page's own program was built to. */
const asset = (name: string): string =>
  readFileSync(new URL(`../dist/report/page/${name}`, import.meta.url), 'utf8');

/** Which statistic of a latency the benchmark scores, as far as the run's settings say. */
export function scoredStatistics(directory: string, { benchmark }: RunStarted): ScoredStatistics {
  const saved = readJson(join(directory, 'settings.json')) as SavedRun | undefined;
  const table = saved?.input.document.values[benchmark];
  return isTable(table) ? table : {};
}

function htmlOf(
  directory: string,
  entries: readonly JournalEntry[],
  run: RunStarted,
  state: RunState,
): string {
  const saved = readJson(join(directory, 'settings.json')) as SavedRun | undefined;
  const trials = inOrderOfInterest(entries);
  return reportDocument({
    entries,
    ...state,
    slos: run.slos,
    scored: scoredStatistics(directory, run),
    launch: launchOf(directory, state.summary),
    setting: settingOf(run, entries, saved),
    logs: logsOf(directory, trials),
    plans: plansOf(directory, trials),
    script: asset('main.js'),
    style: asset('style.css'),
  });
}

/** report.html of a run, as its journal is now; nothing where it never began. */
export function reportHtml(directory: string, entries: readonly JournalEntry[]): string {
  const run = startOf(entries);
  return run === undefined ? '' : htmlOf(directory, entries, run, stateOf(entries));
}

/** Writes report.html, pareto.csv and the Optuna journal. @returns their names, as in summary.json */
export async function writeReport(
  directory: string,
  entries: readonly JournalEntry[],
  state: RunState = stateOf(entries),
): Promise<Record<string, string>> {
  const run = startOf(entries);
  if (run === undefined) return {};
  const told = toldIn(entries);
  const files = {
    [names.report]: htmlOf(directory, entries, run, state),
    [names.pareto]: paretoTable(told, run.slos),
    [names.optuna]: optunaJournal(run, told),
  };
  // Whole or not at all, but not synced: the journal has it all.
  await settleAll(
    Object.entries(files).map(async ([name, content]) =>
      writeFileAtomic(join(directory, name), content, { mode: 0o600, fsync: false }),
    ),
  );
  return names;
}

/** Rewritten no more often than this, and less often where that takes long: many trials make a large page. */
const pause = { leastMs: 10_000, ofItsOwnTime: 50 } as const;

/** Keeps the report of a run that goes on as new as a reader needs it. */
export class LiveReport implements AsyncDisposable {
  readonly #directory: string;
  readonly #entries: () => readonly JournalEntry[];
  readonly #complain: (text: string) => void;
  #writing: Promise<void> | undefined;
  #nextAt = 0;
  #hasComplained = false;

  constructor(directory: string, entries: () => readonly JournalEntry[], complain: (text: string) => void) {
    this.#directory = directory;
    this.#entries = entries;
    this.#complain = complain;
  }

  /** Something happened. Returns at once; a report that cannot be written costs no measurement. */
  touch(): void {
    const now = performance.now();
    if (this.#writing !== undefined || now < this.#nextAt) return;
    this.#writing = writeReport(this.#directory, this.#entries())
      .then(
        () => undefined,
        (error: unknown) => {
          if (!this.#hasComplained)
            this.#complain(`the report cannot be written: ${(error as Error).message}`);
          this.#hasComplained = true;
        },
      )
      .finally(() => {
        const took = performance.now() - now;
        this.#nextAt = performance.now() + Math.max(pause.leastMs, pause.ofItsOwnTime * took);
        this.#writing = undefined;
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
  }
}
