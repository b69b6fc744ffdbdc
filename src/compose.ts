import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { settleAll } from './base/cancellation.ts';
import { systemClock, type Clock } from './base/clock.ts';
import { asOptimizerError } from './base/errors.ts';
import type { EventSink } from './base/events.ts';
import { redactSecrets } from './base/redact.ts';
import { createRng } from './base/rng.ts';
import { fromSeconds, ms, trialId } from './base/units.ts';
import { benchmarks, type BenchmarkKind } from './benchmarks/index.ts';
import type { Registry, Settings, SettingsInput } from './config/settings.ts';
import type { Optimizer } from './core/pso/optimizer.ts';
import { PSOOptimizer } from './core/pso/pso.ts';
import { RandomSearch } from './core/pso/random.ts';
import { SynchronousPso } from './core/pso/synchronous.ts';
import { engines } from './engines/index.ts';
import { otherTables } from './engines/other-tables.ts';
import { errorRecord, Evaluation } from './parallel/evaluation.ts';
import { ParticleDispatcher } from './parallel/particle-dispatcher.ts';
import type { Connector, Engine, HttpProbe, LaunchPlan } from './parallel/ports.ts';
import { bestOf, type ErrorRecord, type GroupRecord, type RunStatus } from './parallel/records.ts';
import type { GroupDependencies } from './parallel/group-dependencies.ts';
import { ServiceGroup } from './parallel/service-group.ts';
import { ServiceGroupPool } from './parallel/service-group-pool.ts';
import { hostRuntime } from './remote/host-runtime.ts';
import { httpProbe } from './remote/http-probe.ts';
import { nodeProbe } from './remote/node-inspection.ts';
import { quote } from './remote/quote.ts';
import { localConnector, sshConnector } from './remote/remote-executor.ts';
import { summarize, type Summary } from './report/summary.ts';
import { writeBest } from './runs/best.ts';
import { readSavedRun, type SavedRun } from './runs/catalog.ts';
import { FileRunStore, runPaths, type RunPaths } from './runs/run-store.ts';
import { replay } from './study/replay.ts';
import { tune as tuneStudy } from './study/tune.ts';
import { version } from './version.ts';

/** Every part, by name. */
export const registry: Registry = { engines, benchmarks, otherTables };

export interface StudyOptions {
  readonly settings: Settings;
  readonly input: SettingsInput;
  readonly events: EventSink;
  /** Go on with this run. */
  readonly resume?: string | undefined;
  readonly clock?: Clock | undefined;
  /** Called with the log file once the run's directory is there. */
  readonly onDirectory?: ((paths: RunPaths) => void) | undefined;
  /** In place of the registered benchmark of this name; its table is validated as the registered one's. */
  readonly benchmark?: BenchmarkKind | undefined;
  readonly connector?: Connector | undefined;
  readonly http?: HttpProbe | undefined;
}

export interface StudyOutcome {
  readonly summary: Summary;
  readonly paths: RunPaths;
  /** What stopped the run before its end. */
  readonly error: unknown;
}

/** `YYYYmmddHHMMSS` in local time, as the original names its files. */
function stamp(date: Date): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `${day}${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}

export function createOptimizer({ space, search, seed }: Settings): Optimizer {
  const common = { space, seed, maxEvaluations: search.maxEvaluations };
  if (search.algorithm === 'random') return new RandomSearch(common);
  const { particles, coefficients, ftol, ftolIter } = search;
  return search.synchronous
    ? new SynchronousPso({ ...common, particles, coefficients, ftol, ftolIter })
    : new PSOOptimizer({ ...common, particles, coefficients });
}

export function engineOf(settings: Settings): Engine {
  return engines.find((engine) => engine.name === settings.engine) as Engine;
}

/** Whether two groups would write the same file on a shared file system or a shared host. */
export function sharesPaths(settings: Settings): boolean {
  return settings.parallel.service_groups.length > 1;
}

function redacted(input: SettingsInput): SettingsInput {
  return JSON.parse(
    JSON.stringify(input, (key, value: unknown) => {
      const number = typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
      return redactSecrets(key, typeof value === 'bigint' ? Number(value) : number);
    }),
  ) as SettingsInput;
}

async function openStore(
  options: StudyOptions,
  clock: Clock,
): Promise<{ store: FileRunStore; fresh: boolean }> {
  const { settings, input, resume } = options;
  const now = clock.wallTime();
  const storeOptions = { fields: settings.space.fields, backups: settings.backup };
  if (resume !== undefined) {
    const saved = readSavedRun(settings.output, resume);
    const paths = runPaths(settings.output, resume, join(settings.output, 'runs', resume, saved.csv));
    return { store: await FileRunStore.resume(resume, paths, storeOptions, now), fresh: false };
  }
  const runId = `${stamp(now)}-${randomBytes(3).toString('hex')}`;
  const paths = runPaths(settings.output, runId, join(settings.storeDir, `data_storage_${stamp(now)}.csv`));
  const store = await FileRunStore.create(runId, paths, storeOptions, now);
  const csv = relative(paths.directory, paths.csv);
  const saved: SavedRun = { schema: 1, run_id: runId, version, csv, input: redacted(input) };
  await writeFileAtomic(paths.settings, `${JSON.stringify(saved, null, 2)}\n`, { mode: 0o600 });
  return { store, fresh: true };
}

interface Wired {
  readonly pool: ServiceGroupPool;
  readonly groups: readonly ServiceGroup[];
}

function wireGroups(options: StudyOptions, store: FileRunStore, clock: Clock): Wired {
  const { settings, events } = options;
  const { acceptNewHostKeys } = settings;
  const dependencies: GroupDependencies = {
    connector: options.connector ?? (settings.local ? localConnector : sshConnector({ acceptNewHostKeys })),
    probe: nodeProbe,
    http: options.http ?? httpProbe,
    runtime: hostRuntime,
    clock,
    runId: store.runId,
    logPatterns: engineOf(settings).logPatterns,
    engine: settings.engine,
    sharesPaths: sharesPaths(settings),
    note: (text) => events.emit({ type: 'note', text }),
  };
  const groups = settings.parallel.service_groups.map((config) => new ServiceGroup(config, dependencies));
  const pool = new ServiceGroupPool(groups, {
    clock,
    events,
    fanOut: 32,
    recoveryTimeout: fromSeconds(settings.recoveryTimeout),
    onCircuit: (group_id, state, cause) => {
      const entry = { type: 'circuit', at: clock.wallTime().toISOString(), group_id, state } as const;
      // A journal that cannot be written fails the next append as well, which stops the run.
      store.append({ ...entry, cause: cause?.message ?? null }).catch(() => undefined);
    },
  });
  return { pool, groups };
}

/** Runs a study to its end, or until the signal; a summary is written either way. */
export async function runStudy(options: StudyOptions, signal: AbortSignal): Promise<StudyOutcome> {
  const { events, clock = systemClock } = options;
  const { store, fresh } = await openStore(options, clock);
  options.onDirectory?.(store.paths);
  let error: unknown;
  let wired: Wired | undefined;
  try {
    await using closing = store;
    wired = wireGroups(options, closing, clock);
    try {
      await search(options, closing, wired, clock, signal);
    } catch (caught) {
      error = caught;
    }
    await wired.pool[Symbol.asyncDispose]();
    const summary = await finish(options, closing, wired.groups, error, { clock, signal });
    events.emit({ type: 'run.ended', runId: store.runId, status: summary.status });
    return { summary, paths: store.paths, error };
  } finally {
    const began = store.entries.some((entry) => entry.type === 'run-started');
    // Nothing came to be: a run that never reached a node leaves no directory behind.
    if (fresh && !began) discard(store.paths);
  }
}

function discard(paths: RunPaths): void {
  rmSync(paths.directory, { recursive: true, force: true });
  rmSync(paths.csv, { force: true });
}

async function search(
  options: StudyOptions,
  store: FileRunStore,
  { pool, groups }: Wired,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const { settings, events } = options;
  await pool.setup(signal);
  await refuseForeignServices(settings, groups, signal);
  const optimizer = createOptimizer(settings);
  const progress = replay(store.entries, optimizer);
  await announce(options, store, groups, clock);
  const kind = options.benchmark ?? benchmarks.find((one) => one.name === settings.benchmark);
  if (kind === undefined) throw new Error(`no benchmark ${settings.benchmark}`);
  await using benchmark = await kind.create();
  const { parallel } = settings;
  const evaluation = new Evaluation({
    engine: engineOf(settings),
    engineConfig: settings.engineConfig,
    benchmark,
    benchmarkConfig: settings.benchmarkConfig,
    fitness: settings.fitness,
    clock,
    events,
    store,
    seed: settings.seed,
    evaluationTimeout: fromSeconds(parallel.evaluation_timeout),
    benchmarkRetries: 1,
  });
  const dispatcher = new ParticleDispatcher({
    pool,
    evaluation,
    retry: {
      maxRetries: parallel.retry_count,
      initialDelay: fromSeconds(parallel.retry_delay),
      maxDelay: ms(60_000),
      exponentialBase: 2,
      jitter: 0.1,
    },
    clock,
    events,
    store,
    rng: createRng(settings.seed).fork('retries'),
  });
  for (const record of progress.told) dispatcher.remember(record);
  const evaluations = settings.search.maxEvaluations;
  await tuneStudy({ optimizer, dispatcher, pool, store, events, clock, evaluations, progress }, signal);
}

/** Before anything is asked: a port that is taken now is for the user to free, not for a retry. */
async function refuseForeignServices(
  settings: Settings,
  groups: readonly ServiceGroup[],
  signal: AbortSignal,
): Promise<void> {
  const engine = engineOf(settings);
  const plan = (group: ServiceGroup): LaunchPlan =>
    engine.plan(settings.engineConfig, settings.space.current, group.topology(trialId(0)));
  const connected = groups.filter((group) => group.connected);
  await settleAll(
    connected.map(async (group) => group.refuseForeignService(plan(group), 'operator', signal)),
  );
}

async function announce(
  options: StudyOptions,
  store: FileRunStore,
  groups: readonly ServiceGroup[],
  clock: Clock,
): Promise<void> {
  const { settings, events, resume } = options;
  const members: GroupRecord[] = groups.map((group) => ({ group_id: group.id, hosts: group.hosts }));
  const at = clock.wallTime().toISOString();
  const resumed = store.entries.some((entry) => entry.type === 'run-started');
  if (resumed) await store.append({ type: 'resumed', at, groups: members });
  else {
    const { engine, benchmark, seed } = settings;
    const { runId: run_id } = store;
    await store.append({
      type: 'run-started',
      schema: 1,
      at,
      run_id,
      seed,
      engine,
      benchmark,
      version,
      groups: members,
    });
  }
  events.emit({
    type: 'run.started',
    runId: store.runId,
    evaluations: settings.search.maxEvaluations,
    groups: groups.length,
    resumed: resume !== undefined,
    directory: store.paths.directory,
  });
}

function statusOf(
  error: unknown,
  hasBest: boolean,
  signal: AbortSignal,
): { status: RunStatus; exitCode: number } {
  if (error !== undefined && !signal.aborted) return { status: 'failed', exitCode: 3 };
  if (signal.aborted) return { status: 'interrupted', exitCode: 130 };
  return hasBest ? { status: 'completed', exitCode: 0 } : { status: 'no_feasible', exitCode: 1 };
}

async function finish(
  options: StudyOptions,
  store: FileRunStore,
  groups: readonly ServiceGroup[],
  failure: unknown,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Summary> {
  const { settings } = options;
  const told = store.entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
  const best = bestOf(told);
  const { status, exitCode } = statusOf(failure, best !== undefined, signal);
  const error: ErrorRecord | null = status === 'failed' ? errorRecord(asOptimizerError(failure)) : null;
  const at = clock.wallTime().toISOString();
  const began = store.entries.some((entry) => entry.type === 'run-started');
  if (began) await store.append({ type: 'run-ended', at, status, error });
  const { paths } = store;
  const artifacts: Record<string, string> = {
    journal: relative(paths.directory, paths.journal),
    settings: relative(paths.directory, paths.settings),
    log: relative(paths.directory, paths.log),
    csv: relative(paths.directory, paths.csv),
  };
  if (best !== undefined && status !== 'failed') {
    const group = groups.find(({ id }) => id === best.group_id) ?? groups[0];
    if (group !== undefined) {
      const plan = engineOf(settings).plan(settings.engineConfig, best.params, group.topology(best.trial_id));
      const { fields } = settings.space;
      const document = redacted(options.input).document.values;
      const files = {
        params: best.params,
        fields,
        plan,
        hosts: group.hosts,
        document,
        engine: settings.engine,
        quote,
      };
      Object.assign(artifacts, await writeBest(paths.best, files));
    }
  }
  const summary = summarize(store.entries, { status, exitCode, at, error }, artifacts);
  if (began) await writeFileAtomic(paths.summary, `${JSON.stringify(summary, null, 2)}\n`, { mode: 0o600 });
  return summary;
}
