import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { registry, runStudy } from '../compose.ts';
import { resolveSettings, type SettingsInput } from '../config/settings.ts';
import { ConfigurationError } from '../base/errors.ts';
import { EventBus } from '../base/events.ts';
import type { Summary } from '../report/summary.ts';
import type { ScoredStatistics } from '../report/comparison.ts';
import { answerText } from '../report/text.ts';
import { vllmSweep } from '../report/vllm-sweep.ts';
import { readJournal } from '../runs/journal-content.ts';
import type { RunPaths } from '../runs/run-store.ts';
import { readHistory } from '../runs/history.ts';
import { warmStart } from '../runs/warm-start.ts';
import { runToResume } from '../runs/catalog.ts';
import { quote } from '../remote/quote.ts';
import { Pause } from '../study/pause.ts';
import { isLive, paintLive } from '../ui/live.ts';
import { plainLine } from '../ui/plain.ts';
import { printDryRun } from './dry-run.ts';
import { loadSettings, type Loaded } from './load.ts';
import { logEvent, openLog } from './log.ts';
import { onFinish } from './on-finish.ts';
import type { CliOptions } from './options.ts';
import { errorText, exitCodes, failureDocument, printFailure } from './outcome.ts';
import { askForPassphrases } from './passphrases.ts';
import {
  allocationsOf,
  allocationsOfSaved,
  imaginedAllocation,
  firstAllocation,
  inTurn,
  resumedInSlurm,
  type Allocations,
} from './allocations.ts';
import { loadSavedInput, loadSavedSettings } from './saved.ts';
import { Interrupted, stopOnSignals } from './signals.ts';

/** Progress goes to stderr when stdout is for a program. */
function progressStream(options: CliOptions): NodeJS.WriteStream {
  return options.json === true || options.events === 'json' ? process.stderr : process.stdout;
}

/** Shows what happens: a picture on a terminal, a line an event elsewhere, JSON where it was asked for. */
function listen(events: EventBus, options: CliOptions, pause: Pause): Disposable {
  const stream = progressStream(options);
  if (options.events === 'json') {
    events.subscribe((event) => process.stdout.write(`${JSON.stringify(event)}\n`));
  } else if (options.quiet !== true) {
    const onPause = (): void => {
      pause.set(!pause.isOn);
      events.emit({ type: 'run.paused', paused: pause.isOn });
    };
    // As Ctrl-C does.
    const onStop = (): void => void process.kill(process.pid, 'SIGINT');
    if (isLive(stream, process.env)) return paintLive(events, stream, { onPause, onStop });
    events.subscribe((event) => {
      const line = plainLine(event);
      if (line !== undefined) stream.write(`${line}\n`);
    });
  }
  return { [Symbol.dispose]: () => undefined };
}

/** Who goes along with a study. */
interface Company {
  readonly accompany?: (events: EventBus) => void;
  /** Its machines are still there when it has ended. */
  readonly resumable?: boolean;
  readonly allocations?: Allocations | undefined;
}

/** Runs a study, tells of it as the options say, and prints the answer. @returns the exit code */
export async function runAndTell(
  { settings, input }: Loaded,
  resume: string | undefined,
  options: CliOptions,
  { accompany, resumable = true, allocations }: Company = {},
): Promise<number> {
  await askForPassphrases(settings);
  const events = new EventBus();
  const pause = new Pause();
  const view = listen(events, options, pause);
  accompany?.(events);
  let log: Logger | undefined;
  events.subscribe((event) => {
    if (log !== undefined) logEvent(log, event);
  });
  for (const text of settings.notes) events.emit({ type: 'note', text });
  using stop = stopOnSignals((name) => {
    events.emit({
      type: 'run.stopping',
      reason: `${name}: ending services and saving; once more to quit at once`,
    });
  });
  const onDirectory = ({ log: file }: { log: string }): void => {
    log = openLog(file, options.logLevel);
  };
  const note = (text: string): void => events.emit({ type: 'note', text });
  const { summary, paths, error } = await inTurn(
    { settings, input },
    { allocations, signal: stop.signal, note },
    async (now, run, signal) => runStudy({ ...now, events, resume: run, onDirectory, pause }, signal),
    resume,
  ).finally(() => view[Symbol.dispose]());
  if (error !== undefined) log?.error({ err: error }, 'the run was stopped');
  if (options.export === 'vllm-sweep' && summary.run_id !== '') await exportSweep(paths);
  const file = (name: string): string => quote(join(paths.directory, name));
  printOutcome(summary, error, options, () =>
    answerText(summary, settings.fitness, settings.benchmarkConfig as ScoredStatistics, file),
  );
  if (options.onFinish !== undefined) await onFinish(options.onFinish, summary, paths.directory);
  const unfinished = summary.status === 'interrupted' || summary.status === 'failed';
  if (summary.run_id !== '' && resumable && unfinished) {
    process.stderr.write(
      `go on with: optimizer resume ${summary.run_id} --output ${quote(settings.output)}\n`,
    );
  }
  return summary.exit_code;
}

/** The run as `vllm bench sweep` would have left it, for its plots. */
async function exportSweep({ journal, directory }: RunPaths): Promise<void> {
  const { entries } = await readJournal(journal);
  for (const { path, content } of vllmSweep(entries)) {
    const file = join(directory, 'vllm-sweep', path);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    writeFileSync(file, content, { mode: 0o600 });
  }
}

function printOutcome(summary: Summary, error: unknown, options: CliOptions, answer: () => string): void {
  if (summary.status === 'failed') process.stderr.write(errorText(error));
  const exists = summary.run_id !== '';
  if (options.json === true) {
    process.stdout.write(
      exists ? `${JSON.stringify(summary, null, 2)}\n` : failureDocument(error, summary.exit_code),
    );
  } else if (exists && options.events !== 'json') progressStream(options).write(answer());
}

/** Tunes, or shows what tuning would do. @returns the exit code */
export async function tune(options: CliOptions): Promise<number> {
  let loaded: Loaded;
  await using allocations = allocationsOf(options);
  try {
    if (options.loadBreakpoint === true && (await unfinishedRun(options)) !== undefined) {
      if (options.dryRun !== true) return await resumeRun(undefined, options);
      const output = options.output ?? (await outputOf(options));
      return await printDryRun(
        await loadSavedSettings(output, await runToResume(output, undefined)),
        options.json === true,
      );
    }
    // Nobody should wait for nodes to hear of a slip in a file.
    if (allocations !== undefined) await loadSettings(options, imaginedAllocation(options));
    loaded = await loadSettings(options, await firstAllocation(allocations, options.dryRun));
    if (options.loadBreakpoint === true) loaded = await withHistory(loaded, options);
    if (options.from !== undefined) loaded = await withStart(loaded, options.from);
    if (options.dryRun === true) return await printDryRun(loaded, options.json === true);
  } catch (error) {
    return printFailure(error, beforeItBegan(error), options.json === true);
  }
  return await guarded(async () => runAndTell(loaded, undefined, options, { allocations }), options);
}

async function unfinishedRun(options: CliOptions): Promise<string | undefined> {
  return runToResume(options.output ?? (await outputOf(options)), undefined).catch(() => undefined);
}

/** Without a run of ours to go on with, what tables of the original say is where the swarm begins. */
async function withHistory(loaded: Loaded, options: CliOptions): Promise<Loaded> {
  const { settings, input } = loaded;
  const history = readHistory(settings.storeDir, settings.space.fields, settings.fitness);
  if (history.length === 0) await runToResume(options.output ?? settings.output, undefined); // says what is missing
  const { synchronous, algorithm } = settings.search;
  if (synchronous || algorithm === 'random') {
    throw new ConfigurationError(
      `Measurements of earlier tables are for the swarm alone, not for ${synchronous ? 'synchronous = true' : 'algorithm = "random"'}`,
      {},
      { remedy: 'Leave that key out, or start without --load-breakpoint.' },
    );
  }
  const known = { ...input, history };
  const { length } = history;
  const note = `beginning with ${length} measurement${length === 1 ? '' : 's'} of earlier tables in ${settings.storeDir}`;
  const resolved = resolveSettings(known, registry);
  return { input: known, settings: { ...resolved, notes: [...resolved.notes, note] } };
}

/** Begins with what an earlier study or the user knows. */
async function withStart({ settings, input }: Loaded, from: string): Promise<Loaded> {
  const { seeds, history, note } = await warmStart(from, settings);
  const { synchronous, algorithm } = settings.search;
  const results = synchronous || algorithm === 'random' ? [] : history;
  const known = { ...input, seeds, history: [...(input.history ?? []), ...results] };
  const resolved = resolveSettings(known, registry);
  return { input: known, settings: { ...resolved, notes: [...resolved.notes, note] } };
}

/** Goes on with a run from its journal, with the settings that it was started with. */
export async function resumeRun(named: string | undefined, options: CliOptions): Promise<number> {
  let input: SettingsInput;
  let runId: string;
  try {
    const output = options.output ?? (await outputOf(options));
    runId = await runToResume(output, named);
    input = await loadSavedInput(output, runId);
  } catch (error) {
    return printFailure(error, exitCodes.usage, options.json === true);
  }
  await using allocations = allocationsOfSaved(input);
  let loaded: Loaded;
  try {
    const now = await resumedInSlurm(input, allocations);
    loaded = { input: now, settings: resolveSettings(now, registry) };
  } catch (error) {
    return printFailure(error, beforeItBegan(error), options.json === true);
  }
  return await guarded(async () => runAndTell(loaded, runId, options, { allocations }), options);
}

/** The exit code of what went wrong before there was a run. */
const beforeItBegan = (error: unknown): number =>
  error instanceof Interrupted ? exitCodes.interrupted : exitCodes.usage;

async function outputOf(options: CliOptions): Promise<string> {
  try {
    return (await loadSettings({ ...options, parallel: undefined })).settings.output;
  } catch {
    return 'result'; // the configuration is not needed to go on, only where its results are
  }
}

async function guarded(work: () => Promise<number>, options: CliOptions): Promise<number> {
  try {
    return await work();
  } catch (error) {
    const code = error instanceof ConfigurationError ? exitCodes.usage : exitCodes.infrastructure;
    return printFailure(error, code, options.json === true);
  }
}
