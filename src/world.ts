import { need } from './base/assert.ts';
import { systemClock, type Clock } from './base/clock.ts';
import { builtinConfig } from './benchmarks/builtin/config.ts';
import { benchmarks } from './benchmarks/index.ts';
import type { Settings } from './config/settings.ts';
import { engineNamed } from './engines/index.ts';
import type {
  Benchmark,
  Connector,
  Engine,
  Executor,
  HttpProbe,
  NodeLock,
  NodeProbe,
  Runtime,
} from './parallel/ports.ts';
import { runtimeOf } from './remote/container-runtime.ts';
import { httpProbe } from './remote/http-probe.ts';
import { nodeLock } from './remote/node-lock.ts';
import { nodeProbe } from './remote/node-inspection.ts';
import { localConnector, slurmConnector, sshConnector, thisMachine } from './remote/remote-executor.ts';
import { createSimulation } from './simulation/index.ts';

/** All that a study meets outside of itself. */
export interface World {
  readonly clock: Clock;
  readonly connector: Connector;
  readonly probe: NodeProbe;
  readonly http: HttpProbe;
  readonly runtime: Runtime;
  readonly lock: NodeLock;
  readonly engine: Engine;
  /** This machine, for load tools that run here. */
  controller(): Promise<Executor>;
  /** Loaded when it is needed: most commands never measure anything. */
  createBenchmark(): Promise<Benchmark>;
  /** Brings work to its end: in a world whose time does not pass by itself, lets it pass. */
  run<T>(work: Promise<T>): Promise<T>;
}

/** How nodes are reached. */
export function connectorOf({ local, acceptNewHostKeys, slurmJob }: Settings): Connector {
  if (slurmJob !== undefined) return slurmConnector(slurmJob);
  return local ? localConnector : sshConnector({ acceptNewHostKeys });
}

function realWorld(settings: Settings): World {
  const { engine, benchmark, runtime } = settings;
  const kind = need(
    benchmarks.find((one) => one.name === benchmark),
    `benchmark ${benchmark}`,
  );
  return {
    clock: systemClock,
    connector: connectorOf(settings),
    probe: nodeProbe,
    http: httpProbe,
    runtime: runtimeOf(runtime),
    lock: nodeLock,
    engine: engineNamed(engine),
    controller: async () => Promise.resolve(thisMachine()),
    createBenchmark: async () => kind.create(),
    run: async (work) => work,
  };
}

/** The machines and this clock, or a model of them. */
export function worldOf(settings: Settings): World {
  if (settings.simulation === undefined) return realWorld(settings);
  const simulation = createSimulation(
    settings.simulation,
    settings.seed,
    // Other load tools are not simulated: their place takes the generator with its usual load.
    settings.benchmark === 'builtin' ? undefined : builtinConfig.parse({}),
  );
  const { clock, benchmark } = simulation;
  return {
    ...simulation,
    engine: simulation.engine(engineNamed(settings.engine)),
    controller: async () => Promise.reject(new Error('a simulation runs no tools')),
    createBenchmark: async () => Promise.resolve(benchmark),
    run: async (work) => clock.run(work),
  };
}
