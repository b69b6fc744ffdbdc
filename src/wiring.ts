import { resolve } from 'node:path';
import type { EventSink } from './base/events.ts';
import { createRng } from './base/rng.ts';
import { fromSeconds, ms } from './base/units.ts';
import { judgedStatistics } from './config/judging.ts';
import type { ServiceGroupConfig } from './config/parallel-config.ts';
import type { Settings } from './config/settings.ts';
import { createSearchSpace, paramsKey } from './core/space/space.ts';
import { ownFields } from './refine.ts';
import { Incumbent } from './parallel/incumbent.ts';
import type { FoundLoads } from './parallel/measurement-key.ts';
import type { Field, ServingParams } from './core/space/field.ts';
import { isRequestRate, isTunableLoad, withoutLoad } from './core/tuning/load-fields.ts';
import type { LoadHosts } from './load-hosts.ts';
import { hostRuntime } from './remote/host-runtime.ts';
import { Evaluation } from './parallel/evaluation.ts';
import type { EvaluationDependencies } from './parallel/measuring.ts';
import type { GroupDependencies } from './parallel/group-dependencies.ts';
import { GroupComparison } from './parallel/group-comparison.ts';
import type { JournalEntry } from './parallel/records.ts';
import { GroupSpeeds } from './parallel/group-speeds.ts';
import { HealthMonitor } from './parallel/health-monitor.ts';
import { ParticleDispatcher, type DispatcherOptions } from './parallel/particle-dispatcher.ts';
import type { Benchmark, Command, RunStore } from './parallel/ports.ts';
import { ServiceGroup } from './parallel/service-group.ts';
import type { SpeedTarget } from './parallel/speed-target.ts';
import { ServiceGroupPool } from './parallel/service-group-pool.ts';
import type { World } from './world.ts';

/** Settings and a world → the parts of floor 2. */

export interface Wiring {
  readonly settings: Settings;
  readonly events: EventSink;
  readonly world: World;
  readonly store: RunStore;
}

/** Whether two groups would write the same file on a shared file system or a shared host. */
export function sharesPaths(settings: Settings): boolean {
  return settings.parallel.service_groups.length > 1;
}

export interface Wired {
  readonly pool: ServiceGroupPool;
  /** All that there were, also those that have left. */
  readonly groups: ServiceGroup[];
  /** A group that is none of the pool's yet. */
  readonly create: (config: ServiceGroupConfig) => ServiceGroup;
}

/** The groups of the settings and the pool that hands them out. */
export function wireGroups({ settings, events, world, store }: Wiring): Wired {
  const { clock, connector, probe, http, runtime, engine, lock } = world;
  const dependencies: GroupDependencies = {
    ...{ connector, probe, http, runtime, clock },
    runId: store.runId,
    lock,
    since: clock.wallTime().toISOString(),
    lease: fromSeconds(settings.leaseTimeout),
    logPatterns: [...settings.patterns.service, ...engine.logPatterns],
    engine: engine.name,
    sharesPaths: sharesPaths(settings),
    inspection:
      engine.inspection && ((node, group) => engine.inspection?.(settings.engineConfig, node, group)),
    forward: settings.forwardPorts,
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
  // Whoever joins has others beside it.
  const create = (config: ServiceGroupConfig): ServiceGroup =>
    new ServiceGroup(config, { ...dependencies, sharesPaths: true });
  return { pool, groups, create };
}

/** Looks after the groups that nobody uses. */
export function wireMonitor(
  settings: Settings,
  events: EventSink,
  { clock }: World,
  pool: ServiceGroupPool,
): HealthMonitor {
  const interval = fromSeconds(settings.healthInterval);
  return new HealthMonitor(pool, { clock, events, interval, timeout: ms(10_000) });
}

/** Load tools elsewhere than on nodes are this run's as well. */
const toolHosts =
  (world: World, store: RunStore, loadHosts: LoadHosts): EvaluationDependencies['toolHost'] =>
  async (place, { groupId, trialId, attempt }, signal) => {
    const owner = { runId: store.runId, groupId, rank: 0 };
    const wrap = (command: Command): Command => hostRuntime.wrap(command, owner);
    if (place === 'controller') {
      // Its commands are run from elsewhere.
      const directory = resolve(store.directory);
      const executor = await world.controller();
      return {
        executor,
        directory: `${directory}/trials/${trialId}/bench-${attempt}`,
        cwd: directory,
        env: {},
        outlives: false,
        wrap,
        wrapOnHost: wrap,
      };
    }
    const { executor, facts } = await loadHosts.at(place, signal);
    const directory = `${facts.workDir}/runs/${store.runId}/g${groupId}-load/bench-${trialId}-${attempt}`;
    return { executor, directory, cwd: facts.workDir, env: {}, outlives: false, wrap, wrapOnHost: wrap };
  };

function foundLoads(
  { nestedLoad }: Settings,
  loads: readonly Field[],
  rate: Field | undefined,
): FoundLoads | undefined {
  if (nestedLoad !== undefined) return { names: loads.map(({ name }) => name), ofPresent: true };
  return rate && { names: [rate.name], ofPresent: false };
}

/** How groups differ, where there is more than one. */
export const speedsOf = (
  { parallel, unequal }: Settings,
  entries: readonly JournalEntry[],
): GroupSpeeds | undefined =>
  parallel.service_groups.length > 1 ? new GroupSpeeds(unequal, entries) : undefined;

/** Brings particles to the groups of a pool. */
export function wireDispatcher(
  wiring: Wiring & {
    readonly pool: ServiceGroupPool;
    readonly benchmark: Benchmark;
    readonly loadHosts: LoadHosts;
    readonly speedTarget?: SpeedTarget | undefined;
    /** How groups differ; undefined: they are taken as they are. */
    readonly speeds?: GroupSpeeds | undefined;
    readonly incumbent?: Incumbent;
    readonly resultCallback?: DispatcherOptions['resultCallback'];
  },
): ParticleDispatcher {
  const { settings, events, world, store, pool, benchmark, speedTarget, resultCallback } = wiring;
  const { incumbent = new Incumbent([]), speeds } = wiring;
  const { clock, engine } = world;
  const { twoStage, nestedLoad } = settings;
  const loads = ownFields(settings).filter(isTunableLoad);
  const rate = twoStage && loads.find(isRequestRate);
  // While the load is found by measuring, rules about it wait.
  const whole = createSearchSpace(ownFields(settings), settings.rules);
  const serverKey = (params: ServingParams): string =>
    paramsKey(twoStage === undefined && nestedLoad === undefined ? params : withoutLoad(params));
  const { theory, workload, parallel, engineConfig, benchmarkConfig, fitness, seed } = settings;
  const evaluation = new Evaluation({
    ...{ engine, engineConfig, benchmark, benchmarkConfig, fitness, clock, events, store, seed },
    evaluationTimeout: fromSeconds(parallel.evaluation_timeout),
    benchmarkRetries: 1,
    speedTarget,
    sampleSize: settings.sampleSize,
    speeds,
    benchmarkPatterns: settings.patterns.benchmark,
    judgedBy: judgedStatistics(fitness, benchmarkConfig),
    reuseService: settings.reuseService,
    incumbent: settings.abortHopeless ? incumbent : undefined,
    twoStage: twoStage && rate && { rate, multiplier: twoStage.multiplier },
    loadSearch: nestedLoad && {
      fields: loads,
      probes: nestedLoad.probes,
      slos: fitness,
      incumbent,
      isAllowed: (params) => whole.broken(params) === undefined,
    },
    serverKey,
    toolHost: toolHosts(world, store, wiring.loadHosts),
  });
  return new ParticleDispatcher({
    ...{ pool, evaluation, clock, events, store, resultCallback },
    comparison:
      speeds &&
      new GroupComparison({
        speeds,
        pool,
        evaluation,
        store,
        events,
        clock,
        present: settings.space.current,
      }),
    retry: {
      maxRetries: parallel.retry_count,
      initialDelay: fromSeconds(parallel.retry_delay),
      maxDelay: ms(60_000),
      exponentialBase: 2,
      jitter: 0.1,
    },
    rng: createRng(seed).fork('retries'),
    found: foundLoads(settings, loads, rate),
    serverKey,
    broken: ({ origin, params, trialId: id }) => {
      const rule = (origin === 'fine-tune' ? whole : settings.space).broken(params);
      const group = pool.groups.find((one) => one.connected);
      if (rule !== undefined) return `breaks the constraint ${rule}`;
      const why = group && engine.refused?.(engineConfig, params, group.topology(id), { theory, workload });
      return why && `cannot fit: ${why}`;
    },
  });
}
