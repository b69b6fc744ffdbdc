import { need } from './base/assert.ts';
import type { Clock } from './base/clock.ts';
import type { EventSink } from './base/events.ts';
import { benchmarks } from './benchmarks/index.ts';
import type { Settings, SettingsInput } from './config/settings.ts';
import { setupOf } from './config/setup.ts';
import type { Registry } from './config/validate.ts';
import { compositionOf } from './core/fitness/composition.ts';
import type { Optimizer } from './core/pso/optimizer.ts';
import { circuitPolicy } from './core/resilience/circuit-breaker.ts';
import { PSOOptimizer } from './core/pso/pso.ts';
import { RandomSearch } from './core/pso/random.ts';
import { SynchronousPso } from './core/pso/synchronous.ts';
import { engineNamed, engines } from './engines/index.ts';
import { finish } from './finish.ts';
import { otherTables } from './engines/other-tables.ts';
import { circuitsOf } from './parallel/circuit-history.ts';
import type { JournalEntry, TrialRecord } from './parallel/records.ts';
import type { ServiceGroup } from './parallel/service-group.ts';
import { SpeedTarget } from './parallel/speed-target.ts';
import type { Summary } from './report/summary.ts';
import { discard, openRun } from './runs/open-run.ts';
import type { FileRunStore, RunPaths } from './runs/run-store.ts';
import { ownFields, refined } from './refine.ts';
import { Incumbent } from './parallel/incumbent.ts';
import type { Pause } from './study/pause.ts';
import { scalingOf, withFleet } from './fleet.ts';
import { recordOf } from './scaling.ts';
import { LoadHosts } from './load-hosts.ts';
import { checkPlans, refuseForeignServices } from './plans.ts';
import { LiveReport } from './run-report.ts';
import { replay } from './study/replay.ts';
import { budgetOptions, leftSeconds, plannedEvaluations } from './plan-budget.ts';
import type { Ending } from './study/agenda.ts';
import { Budget } from './study/budget.ts';
import { tune as tuneStudy } from './study/tune.ts';
import { version } from './base/version.ts';
import { speedsOf, wireDispatcher, wireGroups, wireMonitor, type Wired } from './wiring.ts';
import { worldOf, type World } from './world.ts';

/** Every part, by name. */
export const registry: Registry = { engines, benchmarks, otherTables };

export interface StudyOptions {
  readonly settings: Settings;
  readonly input: SettingsInput;
  readonly events: EventSink;
  /** Go on with this run. */
  readonly resume?: string | undefined;
  /** Called with the log file once the run's directory is there. */
  readonly onDirectory?: ((paths: RunPaths) => void) | undefined;
  /** Lets the study pause; without it, it does not. */
  readonly pause?: Pause | undefined;
  /** Parts of the world in place of the usual ones. */
  readonly world?: Partial<World> | undefined;
}

export interface StudyOutcome {
  readonly summary: Summary;
  readonly paths: RunPaths;
  /** What stopped the run before its end. */
  readonly error: unknown;
}

function optimizerOf({ space, search, seed, presets, history, fitness }: Settings): Optimizer {
  // Where only the load may vary there is one server to start.
  const maxEvaluations = space.dimensions === 0 ? 1 : search.maxEvaluations;
  const common = { space, seed, maxEvaluations, presets, history };
  if (search.algorithm === 'random') return new RandomSearch(common);
  const { particles, coefficients, strategy, surrogate, ftol, ftolIter } = search;
  return search.synchronous
    ? new SynchronousPso({ ...common, particles, coefficients, strategy, ftol, ftolIter })
    : new PSOOptimizer({
        ...common,
        ...{ particles, coefficients, strategy, surrogate, composition: compositionOf(fitness) },
      });
}

/** Runs a study to its end, or until the signal; a summary is written either way. */
export async function runStudy(options: StudyOptions, signal: AbortSignal): Promise<StudyOutcome> {
  const world = { ...worldOf(options.settings), ...options.world };
  return world.run(conduct(options, world, signal));
}

async function conduct(given: StudyOptions, world: World, signal: AbortSignal): Promise<StudyOutcome> {
  let options = given;
  const { clock } = world;
  const store = await openRun(options, options.resume, clock.wallTime(), {
    signal,
    note: (text) => options.events.emit({ type: 'note', text }),
  });
  options.onDirectory?.(store.paths);
  let error: unknown;
  let wired: Wired | undefined;
  let ending: Ending | undefined;
  try {
    await using closing = store;
    options = { ...given, settings: withFleet(given, store.entries, registry) };
    wired = wireGroups({ ...options, world, store: closing });
    try {
      ending = await search(options, closing, wired, world, signal);
    } catch (caught) {
      error = caught;
    }
    await wired.pool[Symbol.asyncDispose]();
    const summary = await finish(options, closing, wired.groups, error, { clock, signal, ending });
    options.events.emit({ type: 'run.ended', runId: store.runId, status: summary.status });
    return { summary, paths: store.paths, error };
  } finally {
    const began = store.entries.some((entry) => entry.type === 'run-started');
    if (options.resume === undefined && !began) discard(store.paths);
  }
}

async function search(
  options: StudyOptions,
  store: FileRunStore,
  wired: Wired,
  world: World,
  signal: AbortSignal,
): Promise<Ending> {
  const { settings: given, events } = options;
  const { pool, groups } = wired;
  const { clock, engine } = world;
  // What can be found wrong without a machine is found before one is touched.
  checkPlans(given, engine, groups);
  await using benchmark = await world.createBenchmark();
  benchmark.check?.(given.benchmarkConfig);
  pool.restore(circuitsOf(store.entries, clock, circuitPolicy));
  await pool.setup(signal);
  const like = need(given.parallel.service_groups[0]?.nodes[0], 'node');
  await using loadHosts = new LoadHosts(world, like);
  await using monitor = wireMonitor(given, events, world, pool);
  monitor.start();
  const check = (all: readonly ServiceGroup[]): void => checkPlans(given, engine, all);
  await using scaling = scalingOf(options, wired, store, { registry, check });
  await refuseForeignServices(given, engine, groups, signal);
  const settings = refined(given, engine, groups, store.entries, events);
  const optimizer = optimizerOf(settings);
  const progress = replay(store.entries, optimizer);
  await announce(options, settings, store, groups, clock);
  scaling?.start();
  // A simulation is over before anybody could look.
  await using live = settings.simulation === undefined ? liveReport(store, events) : undefined;
  live?.touch();
  const speedTarget =
    engine.name === 'mindie'
      ? new SpeedTarget(settings.fitness, progress.told, hasFailed(store.entries))
      : undefined;
  const incumbent = new Incumbent(progress.told);
  const speeds = speedsOf(settings, store.entries);
  const dispatcher = wireDispatcher({
    ...{ settings, events, world, pool, store, benchmark, loadHosts, speedTarget, incumbent, speeds },
  });
  for (const record of [...progress.told, ...progress.recovered]) dispatcher.remember(record);
  const evaluations = plannedEvaluations(settings);
  const { confirmation: runs, fitness: slos, twoStage } = settings;
  const confirmation = { ...runs, slos };
  const refinement = twoStage && { ...twoStage, slos, finalists: runs.finalists };
  const budget = new Budget(budgetOptions(settings, groups.length, store.entries), () => clock.now());
  tellOutlook(budget, progress.told, events);
  const ending = await tuneStudy(
    {
      optimizer,
      dispatcher,
      pool,
      store,
      events,
      clock,
      evaluations,
      confirmation,
      refinement,
      budget,
      pause: options.pause,
      onTold: (record) => {
        // The first one says what the others will take.
        if (record.trial_id === 0) tellOutlook(budget, [record], events);
        speedTarget?.told(record);
        incumbent.told(record);
        live?.touch();
      },
      progress,
    },
    signal,
  );
  if (ending === 'patience')
    events.emit({ type: 'note', text: 'the search ended early: no gain of 1 % for long (patience)' });
  if (ending === 'budget')
    events.emit({ type: 'note', text: 'the budget ended the run before all of it was measured' });
  return ending;
}

function tellOutlook(budget: Budget, told: readonly TrialRecord[], events: EventSink): void {
  const text = budget.outlook(told);
  if (text !== undefined) events.emit({ type: 'note', text });
}

const liveReport = ({ paths, entries }: FileRunStore, events: EventSink): LiveReport =>
  new LiveReport(
    paths.directory,
    () => entries,
    (text) => events.emit({ type: 'note', text }),
  );

const hasFailed = (entries: readonly JournalEntry[]): boolean =>
  entries.some((entry) => entry.type === 'attempt-failed' && entry.trial_id === 0);

async function announce(
  options: StudyOptions,
  settings: Settings,
  store: FileRunStore,
  groups: readonly ServiceGroup[],
  clock: Clock,
): Promise<void> {
  const { events, resume } = options;
  const members = groups.map(recordOf);
  const at = clock.wallTime().toISOString();
  const resumed = store.entries.some((entry) => entry.type === 'run-started');
  if (resumed) await store.append({ type: 'resumed', at, groups: members });
  else {
    const { engine, benchmark, seed } = settings;
    const numerics = engineNamed(engine).changesNumerics ?? [];
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
      setup: setupOf(settings),
      slos: settings.fitness,
      groups: members,
      ...(numerics.length === 0 ? {} : { changes_numerics: numerics }),
      fields: ownFields(settings),
    });
  }
  events.emit({
    type: 'run.started',
    runId: store.runId,
    evaluations: plannedEvaluations(settings),
    groups: groups.length,
    resumed: resume !== undefined,
    directory: store.paths.directory,
    budgetSeconds: leftSeconds(settings, groups.length, store.entries),
  });
}
