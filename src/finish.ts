import { relative } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { Clock } from './base/clock.ts';
import { asOptimizerError, ConfigurationError, ModelEvalStateError } from './base/errors.ts';
import type { StudyOptions } from './compose.ts';
import { engineNamed } from './engines/index.ts';
import { errorRecord } from './parallel/error-record.ts';
import { bestOf } from './parallel/candidates.ts';
import type { ErrorRecord, RunStatus, ScoredRecord } from './parallel/records.ts';
import type { ServiceGroup } from './parallel/service-group.ts';
import { quote } from './remote/quote.ts';
import { summarize, type Summary } from './report/summary.ts';
import type { Ending } from './study/agenda.ts';
import { ownFields } from './refine.ts';
import { writeBest } from './runs/best.ts';
import { writeReport } from './run-report.ts';
import type { FileRunStore, RunPaths } from './runs/run-store.ts';

function statusOf(
  error: unknown,
  hasBest: boolean,
  { signal, ending }: { readonly signal: AbortSignal; readonly ending: Ending | undefined },
): { status: RunStatus; exitCode: number } {
  if (error !== undefined && !signal.aborted) {
    return { status: 'failed', exitCode: error instanceof ConfigurationError ? 2 : 3 };
  }
  if (signal.aborted) return { status: 'interrupted', exitCode: 130 };
  if (!hasBest) return { status: 'no_feasible', exitCode: 1 };
  return { status: ending === 'budget' ? 'budget' : 'completed', exitCode: 0 };
}

/** The files of the recommendation, by the names of summary.json. */
async function keepBest(
  { settings, input }: StudyOptions,
  best: ScoredRecord,
  groups: readonly ServiceGroup[],
  { best: directory }: RunPaths,
): Promise<Record<string, string>> {
  const group = groups.find(({ id }) => id === best.group_id) ?? groups[0];
  if (group === undefined) return {};
  const { engine: name, engineConfig, benchmark } = settings;
  const engine = engineNamed(name);
  const topology = group.topology(best.trial_id);
  return writeBest(directory, {
    params: best.params,
    fields: ownFields(settings),
    plan: engine.plan(engineConfig, best.params, topology),
    topology,
    needs: engine.needs?.(engineConfig) ?? {},
    document: input.document.values,
    engine: name,
    benchmark,
    quote,
  });
}

/** The journal has everything: without these files a run is told of, and can be resumed. */
async function written<T>(work: Promise<T>, what: string): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    throw new ModelEvalStateError(
      `Cannot write ${what}: ${(cause as Error).message}`,
      {},
      {
        cause,
        blame: 'operator',
        remedy: 'Make room there, then `optimizer resume`: everything that was measured is in the journal.',
      },
    );
  }
}

/** The last words of a run: its end in the journal, the recommendation's files, summary.json. */
export async function finish(
  options: StudyOptions,
  store: FileRunStore,
  groups: readonly ServiceGroup[],
  failure: unknown,
  {
    clock,
    ...end
  }: { readonly clock: Clock; readonly signal: AbortSignal; readonly ending: Ending | undefined },
): Promise<Summary> {
  const told = store.entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
  const best = bestOf(told, options.settings.fitness)?.record;
  const { status, exitCode } = statusOf(failure, best !== undefined, end);
  const error: ErrorRecord | null = status === 'failed' ? errorRecord(asOptimizerError(failure)) : null;
  const at = clock.wallTime().toISOString();
  const began = store.entries.some((entry) => entry.type === 'run-started');
  if (began) await store.append({ type: 'run-ended', at, status, error });
  const { paths } = store;
  const { directory, journal, settings, log, csv } = paths;
  const here = (file: string): string => relative(directory, file);
  const artifacts = {
    journal: here(journal),
    settings: here(settings),
    log: here(log),
    csv: here(csv),
    ...(best !== undefined && status !== 'failed'
      ? await written(keepBest(options, best, groups, paths), paths.best)
      : {}),
  };
  const summaryWith = (more: Record<string, string>): Summary =>
    summarize(store.entries, { status, exitCode, at, error }, { ...artifacts, ...more });
  const state = { summary: summaryWith({}), isRunning: false };
  const summary = began
    ? summaryWith(await written(writeReport(directory, store.entries, state), paths.report))
    : state.summary;
  const text = `${JSON.stringify(summary, null, 2)}\n`;
  const durable = options.settings.simulation === undefined;
  if (began)
    await written(writeFileAtomic(paths.summary, text, { mode: 0o600, fsync: durable }), paths.summary);
  return summary;
}
