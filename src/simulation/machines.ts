import { abortable, childController } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import { deferred } from '../base/condition.ts';
import { CommunicationError } from '../base/errors.ts';
import type { Rng } from '../base/rng.ts';
import { ms, type Ms } from '../base/units.ts';
import { cannotServe, planMemory } from '../core/serving/hardware.ts';
import { settingsOf } from '../core/serving/params.ts';
import type { Preset } from '../core/serving/presets.ts';
import type { ServingParams } from '../core/space/field.ts';
import type {
  Command,
  Connector,
  Executor,
  HttpProbe,
  NodeFacts,
  NodeLock,
  NodeProbe,
  ProcessExit,
  RemoteProcess,
  Runtime,
  SpawnOptions,
  TakenNode,
} from '../parallel/ports.ts';

/** What may be asked of a simulated cluster. */
export interface Trouble {
  /** How much longer or shorter a start takes: sigma of a log-normal factor. */
  readonly noise: number;
  /** Probability that a start ends with its machine going down. */
  readonly nodeFailures: number;
  /** How long a machine stays down. */
  readonly outage: Ms;
  /** Speeds of the groups in turn; 1 is the preset's. */
  readonly groupSpeeds: readonly number[];
}

/** In the environment of simulated processes: what they would have been told in the words of their engine. */
export const paramsVariable = 'SIMULATED_PARAMS';

const facts: NodeFacts = { workDir: '/simulated', deviceType: 'npu', warning: undefined };

/** An SSH round trip. */
const roundTrip = ms(5);

interface Process {
  readonly token: string;
  end(exit: ProcessExit): void;
}

interface Machine {
  readonly host: string;
  readonly processes: Set<Process>;
  lost: ReturnType<typeof childController>;
  downUntil: Ms;
  /** Resolves when what was started last answers; undefined: nothing does. */
  healthy: Promise<void> | undefined;
}

export interface MachinesOptions {
  readonly clock: Clock;
  readonly rng: Rng;
  readonly preset: Preset;
  readonly trouble: Trouble;
}

/** Machines, processes and a network on a virtual clock, behind the ports that the real ones are behind. */
export class SimulatedMachines implements Connector, NodeProbe, NodeLock, HttpProbe {
  readonly #options: MachinesOptions;
  readonly #machines = new Map<string, Machine>();

  constructor(options: MachinesOptions) {
    this.#options = options;
  }

  speedOf(group: number): number {
    const { groupSpeeds } = this.#options.trouble;
    return groupSpeeds[Math.abs(group) % Math.max(1, groupSpeeds.length)] ?? 1;
  }

  readonly runtime: Runtime = {
    name: 'simulated',
    token: ({ runId, groupId, rank }) => `${runId}/g${groupId}/r${rank}.`,
    wrap: (command) => command,
    wrapOnHost: (command) => command,
    reap: (token) => ({ argv: ['end', token] }),
    dismiss: () => ({ argv: ['dismiss'] }),
    count: (token) => ({ argv: ['count', token] }),
    census: () => ({ argv: ['census'] }),
  };

  async connect(node: { readonly host: string }, signal: AbortSignal): Promise<Executor> {
    const machine = this.#machine(node.host);
    const { clock } = this.#options;
    await clock.sleep(ms(8 * roundTrip), signal);
    if (clock.now() < machine.downUntil) {
      throw new CommunicationError(`Cannot reach ${node.host}: it is down (simulated)`, { host: node.host });
    }
    machine.lost = childController();
    return this.#executor(machine);
  }

  async inspect(): Promise<NodeFacts> {
    return Promise.resolve(facts);
  }

  /** Answers when the service is up: the time until then passes at once. */
  async status(url: string, signal: AbortSignal): Promise<number | undefined> {
    const { healthy } = this.#machine(new URL(url).hostname);
    if (healthy === undefined) return undefined;
    await abortable(healthy, signal);
    return 200;
  }

  async memoryInUse(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async memoryHolders(): Promise<string> {
    return Promise.resolve('');
  }

  /** Nobody else has these machines. */
  async take(): Promise<TakenNode> {
    return Promise.resolve({ facts, found: '' });
  }

  /** Engines are not asked what they run with: they run with what was asked. */
  async text(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async listens(host: string): Promise<boolean> {
    return Promise.resolve(this.#machine(host).healthy !== undefined);
  }

  #machine(host: string): Machine {
    const known = this.#machines.get(host);
    if (known !== undefined) return known;
    const machine: Machine = {
      host,
      processes: new Set(),
      lost: childController(),
      downUntil: ms(0),
      healthy: undefined,
    };
    this.#machines.set(host, machine);
    return machine;
  }

  #executor(machine: Machine): Executor {
    const { clock } = this.#options;
    const unsupported = async (): Promise<never> =>
      Promise.reject(new Error('simulated machines have no files'));
    return {
      host: machine.host,
      address: machine.host,
      lost: machine.lost.signal,
      run: async (command, { signal }) => {
        await clock.sleep(roundTrip, signal);
        machine.lost.signal.throwIfAborted();
        return { exitCode: 0, stderr: '', stdout: this.#run(machine, command) };
      },
      spawn: async (command, options) => {
        await clock.sleep(roundTrip, options.signal);
        machine.lost.signal.throwIfAborted();
        return this.#spawn(machine, command, options);
      },
      hold: async () => Promise.resolve(''),
      readFile: unsupported,
      writeFile: async () => clock.sleep(roundTrip, machine.lost.signal),
      upload: unsupported,
      download: unsupported,
      [Symbol.asyncDispose]: async () => Promise.resolve(),
    };
  }

  #run(machine: Machine, { argv: [what, token = ''] }: Command): string {
    const owned = [...machine.processes].filter((process) => process.token === token);
    if (what === 'count') return String(owned.length);
    if (what === 'end') for (const process of owned) process.end({ kind: 'signal', name: 'TERM' });
    return '';
  }

  #spawn(machine: Machine, { env = {} }: Command, { token, logFile }: SpawnOptions): RemoteProcess {
    const exit = deferred<ProcessExit>();
    const tail: string[] = [];
    const listeners: ((line: string) => void)[] = [];
    const life = childController();
    const process: Process = {
      token,
      end(how) {
        machine.processes.delete(process);
        machine.healthy = undefined;
        exit.resolve(how);
        life.abort(new Error('it ended'));
      },
    };
    machine.processes.add(process);
    const say = (line: string): void => {
      tail.push(line);
      for (const listener of listeners) listener(line);
    };
    const { clock } = this.#options;
    if (env[paramsVariable] !== undefined) {
      const params = JSON.parse(env[paramsVariable]) as ServingParams;
      machine.healthy = this.#start(machine, process, params, { say, signal: life.signal });
      machine.healthy.catch(() => undefined); // it ended before
    }
    return {
      pid: 1,
      identity: '1:1',
      logFile,
      exited: exit.promise,
      tail,
      get lastOutput() {
        return clock.now();
      },
      onLine: (listener) => listeners.push(listener),
      end: async () => Promise.resolve(undefined),
      release: async () => Promise.resolve(),
      [Symbol.dispose]: () => undefined,
    };
  }

  async #start(
    machine: Machine,
    process: Process,
    params: ServingParams,
    { say, signal }: { readonly say: (line: string) => void; readonly signal: AbortSignal },
  ): Promise<void> {
    const { clock, preset, rng, trouble } = this.#options;
    const memory = planMemory(preset.deployment, settingsOf(preset, params));
    const duration = preset.startUpMs * Math.exp(trouble.noise * (rng.next() * 2 - 1));
    const accident = rng.next() < trouble.nodeFailures ? rng.next() * 3 * duration : undefined;
    if (accident !== undefined) void this.#fail(machine, ms(accident), signal);
    await clock.sleep(ms(duration * 0.4), signal);
    if (cannotServe(memory)) {
      say(`ERROR ${memory.kind === 'weights' ? 'torch.OutOfMemoryError' : 'ValueError'}: ${memory.message}`);
      process.end({ kind: 'code', code: 1 });
      signal.throwIfAborted();
    }
    await clock.sleep(ms(duration * 0.6), signal);
  }

  async #fail(machine: Machine, after: Ms, signal: AbortSignal): Promise<void> {
    const { clock, trouble } = this.#options;
    try {
      await clock.sleep(after, signal);
    } catch {
      return; // the service had ended by then
    }
    machine.downUntil = ms(clock.now() + trouble.outage);
    const cause = new CommunicationError(`Lost the connection to ${machine.host} (simulated)`, {
      host: machine.host,
    });
    for (const process of machine.processes) process.end({ kind: 'lost', cause });
    machine.lost.abort(cause);
  }
}
