import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { need } from './base/assert.ts';
import { childController } from './base/cancellation.ts';
import { EventBus, type RunEvent } from './base/events.ts';
import type { RunStore } from './parallel/ports.ts';
import { registry, runStudy, type StudyOutcome } from './compose.ts';
import { resolveSettings, type Flags, type Settings, type SettingsInput } from './config/settings.ts';
import type { Table } from './config/toml.ts';
import type { HealthMonitor } from './parallel/health-monitor.ts';
import type { DispatcherOptions, ParticleDispatcher } from './parallel/particle-dispatcher.ts';
import type { ServiceGroupPool } from './parallel/service-group-pool.ts';
import { LoadHosts } from './load-hosts.ts';
import { wireDispatcher, wireGroups, wireMonitor } from './wiring.ts';
import { worldOf } from './world.ts';

export interface LibraryOptions {
  /** Stops everything, saves, and ends what runs. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: RunEvent) => void;
  /** What the command line would override, such as `{ seed: 1, simulate: true }`. */
  readonly flags?: Flags;
}

function inputOf(config: Table, flags: Flags = {}): SettingsInput {
  return { document: { values: config, origin: {}, files: [] }, flags };
}

function listening(onEvent: LibraryOptions['onEvent']): EventBus {
  const events = new EventBus();
  if (onEvent !== undefined) events.subscribe(onEvent);
  return events;
}

/**
 * Runs a whole study; `config` is what config.toml would hold.
 * @throws ConfigurationError for a wrong configuration; what stops a run later is `error` of the outcome
 */
export async function tune(config: Table, options: LibraryOptions = {}): Promise<StudyOutcome> {
  const input = inputOf(config, options.flags);
  const settings = resolveSettings(input, registry);
  using stop = childController(...(options.signal === undefined ? [] : [options.signal]));
  return await runStudy({ settings, input, events: listening(options.onEvent) }, stop.signal);
}

/** Connected groups to measure configurations on, one by one. Dispose to end what runs and to disconnect. */
export interface ConnectedGroups extends AsyncDisposable {
  readonly settings: Settings;
  readonly pool: ServiceGroupPool;
  readonly dispatcher: ParticleDispatcher;
  readonly monitor: HealthMonitor;
}

/** The records go to who asks for them. */
function forgetfulStore(runId: string): RunStore {
  return {
    runId,
    directory: join(tmpdir(), `optimizer-${runId}`),
    append: async () => Promise.resolve(),
    keep: async () => Promise.resolve(),
    [Symbol.asyncDispose]: async () => Promise.resolve(),
  };
}

/**
 * Connects the groups of a configuration without searching: for who brings particles of their own.
 * @throws ConfigurationError, CommunicationError
 */
export async function connectGroups(
  config: Table,
  options: LibraryOptions & Pick<DispatcherOptions, 'resultCallback'> = {},
): Promise<ConnectedGroups> {
  // Whoever brings particles brings their loads as well.
  const input = inputOf({ load_search: 'fixed', ...config }, options.flags);
  const settings = resolveSettings(input, registry);
  const events = listening(options.onEvent);
  const world = worldOf(settings);
  const store = forgetfulStore(`library-${process.pid}`);
  const { pool } = wireGroups({ settings, events, world, store });
  using stop = childController(...(options.signal === undefined ? [] : [options.signal]));
  const benchmark = await world.createBenchmark();
  const monitor = wireMonitor(settings, events, world, pool);
  const like = need(settings.parallel.service_groups[0]?.nodes[0], 'node');
  const loadHosts = new LoadHosts(world, like);
  const close = async (): Promise<void> => {
    await loadHosts[Symbol.asyncDispose]();
    await monitor[Symbol.asyncDispose]();
    await pool[Symbol.asyncDispose]();
    await benchmark[Symbol.asyncDispose]();
  };
  try {
    await pool.setup(stop.signal);
  } catch (error) {
    await close();
    throw error;
  }
  monitor.start();
  const { resultCallback } = options;
  const dispatcher = wireDispatcher({
    ...{ settings, events, world, store, pool, benchmark, loadHosts, resultCallback },
  });
  return { settings, pool, dispatcher, monitor, [Symbol.asyncDispose]: close };
}
