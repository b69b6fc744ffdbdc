import { VirtualClock } from '../base/virtual-clock.ts';
import { createRng } from '../base/rng.ts';
import { fromSeconds, type Ms } from '../base/units.ts';
import { presets } from '../core/serving/presets.ts';
import type {
  Benchmark,
  Connector,
  Engine,
  HttpProbe,
  NodeLock,
  NodeProbe,
  Runtime,
} from '../parallel/ports.ts';
import type { Simulated } from '../config/settings.ts';
import { simulatedBenchmark, type SimulatedLoad } from './benchmark.ts';
import { paramsVariable, SimulatedMachines } from './machines.ts';

/** Everything that a study needs from outside, on a virtual clock. */
export interface Simulation {
  readonly clock: VirtualClock;
  readonly connector: Connector;
  readonly probe: NodeProbe;
  readonly http: HttpProbe;
  readonly runtime: Runtime;
  readonly lock: NodeLock;
  readonly benchmark: Benchmark;
  /** The engine as it is, whose processes the simulated machines understand. */
  engine(real: Engine): Engine;
}

/** Simulated machines have nothing to look at. */
function withoutQuestions(real: Engine): Engine {
  const { name, config, logPatterns, changesNumerics = [] } = real;
  return {
    ...{ name, config, logPatterns, changesNumerics },
    fieldsOf: (settings, shape) => real.fieldsOf(settings, shape),
    plan: (settings, params, topology) => real.plan(settings, params, topology),
  };
}

export function createSimulation(settings: Simulated, seed: number, load?: SimulatedLoad): Simulation {
  const clock = new VirtualClock();
  const preset = presets[settings.preset];
  const outage: Ms = fromSeconds(settings.outageSeconds);
  const { noise, nodeFailures, groupSpeeds } = settings;
  const machines = new SimulatedMachines({
    clock,
    rng: createRng(seed).fork('machines'),
    preset,
    trouble: { noise, nodeFailures, outage, groupSpeeds },
  });
  return {
    clock,
    connector: machines,
    probe: machines,
    http: machines,
    runtime: machines.runtime,
    lock: machines,
    benchmark: simulatedBenchmark({
      preset,
      noise,
      load,
      speedOf: (group) => machines.speedOf(group),
    }),
    engine: (real) => ({
      ...withoutQuestions(real),
      plan(config, params, topology) {
        const plan = real.plan(config, params, topology);
        const last = plan.stages.length - 1;
        const env = { [paramsVariable]: JSON.stringify(params) };
        return {
          ...plan,
          files: [],
          prepare: [],
          restore: [],
          stop: [],
          // The service is what the last stage starts; all else only has to be there.
          stages: plan.stages.map((stage, index) => ({
            ...stage,
            until: { kind: 'started' },
            processes: stage.processes.map((process) => ({
              ...process,
              command:
                index === last
                  ? { ...process.command, env: { ...process.command.env, ...env } }
                  : process.command,
            })),
          })),
        };
      },
    }),
  };
}
