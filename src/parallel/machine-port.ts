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

/** A process in a session of its own that outlives the connection. It is ended through its owner's token. */
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
}

export interface SpawnOptions {
  readonly signal: AbortSignal;
  /** For its state file and command; made when it is missing. */
  readonly directory: string;
  readonly logFile: string;
  readonly token: string;
}

/** Runs commands on one machine. */
export interface Executor extends AsyncDisposable {
  readonly host: string;
  /** The address at which other machines reach it. */
  readonly address: string;
  /** Aborts when the machine is lost; the executor is then of no more use. */
  readonly lost: AbortSignal;
  /**
   * Runs to the end. `timeout` bounds the whole; when it or the signal strikes, the remote process group is killed.
   * @throws IPCCommandError on exit ≠ 0, IPCTimeoutError, CommunicationError
   */
  run(command: Command, options: { signal: AbortSignal; timeout: Ms }): Promise<CommandResult>;
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
  /**
   * TERM, grace, KILL for all that carries the token; prints a line `pid name` for each survivor. `known` are
   * identities of processes to begin with, which saves a search.
   */
  reap(token: string, grace: Ms, known: readonly string[]): Command;
  /** Prints how many processes with the token are alive. */
  count(token: string): Command;
  /** Prints what any run has on the node, for `parseCensus`. */
  census(): Command;
}

/** What is found out on a node once it is connected. */
export interface NodeFacts {
  readonly workDir: string;
  readonly deviceType: 'npu' | 'gpu' | 'none';
  readonly warning: string | undefined;
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
}
