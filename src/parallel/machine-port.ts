import type { GroupId, Ms } from '../base/units.ts';
import type { NodeConfig } from '../config/parallel-config.ts';

/** Machines: commands on them, processes that outlive the connection, and whose they are. */

export interface Command {
  /** Quoted once, by the executor. */
  readonly argv: readonly [string, ...string[]];
  /** What messages call it, where argv is no pleasure to read. */
  readonly label?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
}

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type ProcessExit =
  | { readonly kind: 'code'; readonly code: number }
  | { readonly kind: 'signal'; readonly name: string }
  /** The link died: the process may still run. */
  | { readonly kind: 'lost'; readonly cause: Error };

/**
 * A process in a session of its own that outlives the connection. It is ended through its owner's token, or by its
 * guardian when the controller is gone. Disposing ends the watching alone; what is being released is watched until then.
 */
export interface RemoteProcess extends Disposable {
  readonly pid: number;
  /** `pid:start time`, which no other process of the machine has or will have. */
  readonly identity: string;
  readonly logFile: string;
  /** Never rejects. */
  readonly exited: Promise<ProcessExit>;
  /** The newest lines of its log, oldest first, bounded. */
  readonly tail: readonly string[];
  /** Time of the last output. */
  readonly lastOutput: Ms;
  onLine(listener: (line: string) => void): void;
  /**
   * Ends all that carries its token, by the `reap` of its guard, which the node has already. `known` as in
   * `Runtime.reap`. @returns what that printed; undefined: nobody is there to do it, and it takes a command
   * @throws IPCTimeoutError
   */
  end(known: readonly string[], timeout: Ms): Promise<string | undefined>;
  /** It was ended and proven gone: sends its guardian away. Resolves when that has gone, or cannot be told. */
  release(): Promise<void>;
}

/** What a guardian on the node does when nobody is there to end the process. */
export interface Guard {
  /** Without a word of the controller for so long, by the node's clock, it ends the process. */
  readonly lease: Ms;
  /** Asked first, each for at most `grace` and 30 s. */
  readonly stop: readonly Command[];
  readonly grace: Ms;
  /** `Runtime.reap` and `Runtime.count` of its token. */
  readonly reap: Command;
  readonly count: Command;
  readonly restore: readonly Command[];
  /** The service goes on with none of ours left. */
  readonly detached: boolean;
}

export interface SpawnOptions {
  readonly signal: AbortSignal;
  /** For its state file and command; made when it is missing. */
  readonly directory: string;
  readonly logFile: string;
  readonly token: string;
  readonly guard: Guard;
}

export interface RunOptions {
  readonly signal: AbortSignal;
  /** Bounds the whole; when it or the signal strikes, the remote process group is killed. */
  readonly timeout: Ms;
  /** Goes on to its end when the connection is lost; by default it is killed then. */
  readonly untied?: boolean;
  /** What it says, on either stream, as it says it; Slurm passes on whole lines. */
  readonly onOutput?: ((text: string) => void) | undefined;
}

export interface HoldOptions {
  readonly signal: AbortSignal;
  readonly every: Ms;
  readonly until: string;
}

/** Ways from this machine to ports that another one reaches, through the connection to it. */
export interface Forwarding {
  /** Addresses of that side mean nothing here. */
  readonly isOnlyWay: boolean;
  /** Whether something there accepts connections. */
  reaches(host: string, port: number, signal: AbortSignal): Promise<boolean>;
  /** A port of 127.0.0.1 here that leads there, as long as the connection lives. */
  port(host: string, port: number): Promise<number>;
}

/** Runs commands on one machine. */
export interface Executor extends AsyncDisposable {
  readonly host: string;
  /** The address at which other machines reach it. */
  readonly address: string;
  /** Aborts when the machine is lost; the executor is then of no more use. */
  readonly lost: AbortSignal;
  /** undefined: what it reaches is reached from here as well. */
  readonly forwarding?: Forwarding | undefined;
  /** Runs to the end. @throws IPCCommandError on exit ≠ 0, IPCTimeoutError, CommunicationError */
  run(command: Command, options: RunOptions): Promise<CommandResult>;
  /**
   * Keeps a command running until the executor is disposed or the connection ends: a line on its stdin every `every`
   * tells that we are here. @returns what it prints before the line `until`
   * @throws IPCCommandError where it ends before that, IPCTimeoutError, CommunicationError
   */
  hold(command: Command, options: HoldOptions): Promise<string>;
  spawn(command: Command, options: SpawnOptions): Promise<RemoteProcess>;
  readFile(path: string, signal: AbortSignal): Promise<Buffer>;
  /** Makes parents; the file appears whole or not at all, readable by its owner alone unless `mode` says more. */
  writeFile(path: string, data: string | Uint8Array, signal: AbortSignal, mode?: number): Promise<void>;
  upload(local: string, remote: string, signal: AbortSignal): Promise<void>;
  download(remote: string, local: string, signal: AbortSignal): Promise<void>;
}

export interface Connector {
  /** @throws CommunicationError; blame `operator` where trying again cannot help */
  connect(node: NodeConfig, signal: AbortSignal, options: { readonly retry: boolean }): Promise<Executor>;
}

/** Who a process belongs to; its token is in the environment of everything that it starts. */
export interface Owner {
  readonly runId: string;
  readonly groupId: GroupId;
  readonly rank: number;
}

/** How a plan's commands become owned processes, and how what is owned is ended. Pure: it makes commands. */
export interface Runtime {
  readonly name: string;
  token(owner: Owner): string;
  wrap(command: Command, owner: Owner): Command;
  /** The same for what needs nothing of an engine's container. */
  wrapOnHost(command: Command, owner: Owner): Command;
  /**
   * TERM, grace, KILL for all that carries the token; prints a line `pid name` for each survivor. `known` are
   * identities of processes to begin with, which saves a search.
   */
  reap(token: string, grace: Ms, known: readonly string[]): Command;
  /** Ends the guardians, on the machine itself, of what was proven gone. */
  dismiss(token: string): Command;
  /** Prints how many processes with the token are alive. */
  count(token: string): Command;
  /** Prints what any run has on the node, for `parseCensus`. */
  census(): Command;
}

/** Who wants a node for itself. */
export interface Claim {
  readonly runId: string;
  /** ISO 8601. */
  readonly since: string;
  /** A claim that was not heard of for so long is void. */
  readonly lease: Ms;
}

/** A node that is ours alone. */
export interface TakenNode {
  readonly facts: NodeFacts;
  /** What the census printed. */
  readonly found: string;
}

/** One run a node and work directory. */
export interface NodeLock {
  /**
   * Looks around, takes the node, and then looks for what any run has on it: one command, because connecting many
   * machines is what commands cost. Held until the executor is disposed.
   * @throws ConfigurationError, CommunicationError; blame `operator`, naming who has it
   */
  take(
    executor: Executor,
    node: NodeConfig,
    claim: Claim & { readonly census: Command },
    signal: AbortSignal,
  ): Promise<TakenNode>;
}

/** What is found out on a node once it is connected. */
export interface NodeFacts {
  readonly workDir: string;
  readonly deviceType: 'npu' | 'gpu' | 'none';
  readonly warning: string | undefined;
  /** Its accelerators and their driver, in words; undefined where nothing tells. */
  readonly hardware?: string | undefined;
  /** What the engine's own inspection printed; undefined where it has none. */
  readonly inspected?: string | undefined;
}

export interface NodeProbe {
  /** Makes the work directory and looks around. @throws ConfigurationError, CommunicationError */
  inspect(executor: Executor, node: NodeConfig, signal: AbortSignal): Promise<NodeFacts>;
  /** The largest share of a device's memory that is in use, 0 … 1; undefined where nothing tells. */
  memoryInUse(
    executor: Executor,
    node: NodeConfig,
    facts: NodeFacts,
    signal: AbortSignal,
  ): Promise<number | undefined>;
  /** Who holds device memory, in words; '' where nothing tells. */
  memoryHolders(executor: Executor, facts: NodeFacts, signal: AbortSignal): Promise<string>;
}
