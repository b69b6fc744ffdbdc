import type { z } from 'zod';
import type { Clock } from '../base/clock.ts';
import type { EventSink } from '../base/events.ts';
import type { GroupId, Ms, TrialId } from '../base/units.ts';
import type { Percentiles, PerformanceIndex } from '../core/fitness/fitness.ts';
import type { Pattern } from '../core/resilience/start-failure.ts';
import type { ConstraintRule } from '../core/space/constraints.ts';
import type { Field, ParamValue, ServingParams } from '../core/space/field.ts';
import type { GroupShape, NodeConfig, ServiceGroupConfig } from '../config/parallel-config.ts';
import type { JournalEntry } from './records.ts';

/** What this floor needs from the outside; remote/, engines/, benchmarks/ and runs/ implement it. */

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

/** The group as a plan sees it: rank 0 is the master. */
export interface GroupTopology {
  readonly runId: string;
  readonly trialId: TrialId;
  readonly groupId: GroupId;
  /** The first of `portsPerStart` ports that no other group and no recent start of this one uses. */
  readonly masterPort: number;
  readonly settings: ServiceGroupConfig;
  /** Where services run: `host`, or a kind of container. */
  readonly runtime: string;
  readonly nodes: readonly TopologyNode[];
}

export interface TopologyNode {
  readonly rank: number;
  readonly host: string;
  readonly address: string;
  readonly deviceIds: readonly number[];
  readonly deviceType: 'npu' | 'gpu' | 'none';
  readonly workDir: string;
  readonly configPath: string;
  /** Of the group, then of the node. */
  readonly env: Readonly<Record<string, string>>;
  readonly interface: string | undefined;
  /** What the engine's inspection printed here; undefined before anything is connected. */
  readonly inspected: string | undefined;
}

export type Until =
  | { readonly kind: 'started' }
  | { readonly kind: 'port'; readonly rank: number; readonly port: number }
  | { readonly kind: 'command'; readonly rank: number; readonly command: Command }
  | { readonly kind: 'log'; readonly rank: number; readonly text: string }
  | { readonly kind: 'http'; readonly url: string; readonly expectStatus: number };

export interface PlannedProcess {
  readonly rank: number;
  readonly role: string;
  readonly command: Command;
}

export interface Stage {
  readonly processes: readonly PlannedProcess[];
  readonly until: Until;
  readonly timeout: Ms;
}

export interface PlannedFile {
  readonly rank: number;
  readonly path: string;
  readonly content: string;
  /** 0600 unless the engine insists. */
  readonly mode?: number;
}

/** All that starting a service means, as data: printable, and torn down in reverse. */
export interface LaunchPlan {
  readonly files: readonly PlannedFile[];
  /** Run to their ends, in order, when the files are there and before anything starts. */
  readonly prepare?: readonly PlannedProcess[];
  readonly stages: readonly Stage[];
  /** Healthy when this answers as expected. */
  readonly probe: { readonly url: string; readonly expectStatus: number };
  /** Asked to stop the service gracefully before its processes are ended. */
  readonly stop: readonly PlannedProcess[];
  /** Run when all of its processes are gone: puts back what `prepare` changed. */
  readonly restore?: readonly PlannedProcess[];
  /** Manages processes that it does not own: a start script may return with none of ours left. */
  readonly detached: boolean;
  readonly silenceTimeout: Ms;
  readonly target: BenchmarkTarget;
}

/** A literal sub-string of a log line that tells what went wrong; a fatal one ends a start at once. */
export type LogPattern = Pattern;

/** A configuration of an expert; what it leaves out stays as it is at present. */
export interface Preset {
  readonly name: string;
  readonly params: ServingParams;
}

/** How to see what a service really runs with. */
export interface ReadBack {
  /** Tried in order until one answers 200. */
  readonly urls: readonly string[];
  /**
   * Effective values by field name; absent where the answer does not tell. `usual` is what the engine takes when
   * nobody asks: a value that is not what was asked but the usual one was ignored.
   * @throws for an answer in no known form
   */
  readonly parse: (body: string) => Readonly<Record<string, EffectiveValue>>;
}

export interface EffectiveValue {
  readonly value: ParamValue;
  readonly usual?: ParamValue;
}

/** What a run starts from, where the engine's own files say more than the configuration does. */
export interface Refined {
  readonly fields: readonly Field[];
  readonly notes: readonly string[];
}

/** What bounds may be derived from. */
export interface Guidance {
  /** undefined: `theory_guided_enable` is off. */
  readonly theory: { readonly memCoefficient: number; readonly scalingCoefficient: number } | undefined;
  /** Tokens of a usual request, where the benchmark says so beforehand. */
  readonly workload: { readonly inputTokens: number; readonly outputTokens: number } | undefined;
}

export interface Engine<C = unknown> {
  readonly name: string;
  readonly config: z.ZodType<C>;
  fieldsOf(config: C, shape: GroupShape): readonly Field[];
  /** Tried after the present configuration. */
  presets?(config: C, shape: GroupShape): readonly Preset[];
  /** Rules over the names of its fields; those whose names are not all searched are left out. */
  constraints?(config: C, shape: GroupShape): readonly ConstraintRule[];
  /** Pure; what --dry-run prints. */
  plan(config: C, params: ServingParams, topology: GroupTopology): LaunchPlan;
  readonly logPatterns: readonly LogPattern[];
  /** Looked at once a node when it is connected; what it prints reaches `plan` as `inspected`. */
  inspection?(config: C, node: NodeConfig, group: ServiceGroupConfig): Command | undefined;
  /** Undoes what a run that crashed left edited on a node; prints `restored PATH`. What was not edited stays. */
  putBack?(config: C, node: NodeConfig, group: ServiceGroupConfig): Command | undefined;
  /** Fields as the inspected master says: present values, bounds that its memory allows. */
  refine?(config: C, fields: readonly Field[], master: TopologyNode, guidance: Guidance): Refined;
  readBack?(config: C, params: ServingParams, topology: GroupTopology): ReadBack | undefined;
  /** Fields whose values change what the model computes, not only how fast. */
  readonly changesNumerics?: readonly string[];
}

export interface BenchmarkTarget {
  readonly baseUrl: string;
  /** undefined: the first id of /v1/models. */
  readonly model: string | undefined;
}

export type LatencyName = 'ttft_ms' | 'tpot_ms' | 'itl_ms' | 'e2el_ms';

export interface RawOutput {
  readonly name: string;
  readonly content: string;
}

export interface BenchmarkResult {
  readonly performance: PerformanceIndex;
  /** Not every load tool has every statistic. */
  readonly percentiles: Readonly<Partial<Record<LatencyName, Partial<Percentiles>>>>;
  /** Requests a second that kept all of their own SLOs; null where none were set. */
  readonly goodput: number | null;
  readonly numPrompts: number;
  /** Kept as a file in the trial's folder. */
  readonly raw: readonly RawOutput[];
  /** What a reader of the numbers must know, such as tokens that were counted by a fallback. */
  readonly flags: readonly string[];
}

/** A machine that load tools can run on. */
export interface ToolHost {
  readonly executor: Executor;
  /** For this measurement alone. */
  readonly directory: string;
  /** A directory that is there, above it. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** As a process of this run, to be found and ended like all others. */
  wrap(command: Command): Command;
}

export interface BenchmarkContext {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly events: EventSink;
  readonly trialId: TrialId;
  readonly groupId: GroupId;
  readonly attempt: number;
  readonly runId: string;
  readonly seed: number;
  /** Hard limit of one benchmark. */
  readonly timeout: Ms;
  /** At most so many prompts, while the swarm searches. */
  readonly sampleSize: number | undefined;
  /** The controller, or the master node of the group. */
  toolHost(where: 'controller' | 'master'): Promise<ToolHost>;
  /** Keeps a file in the trial's folder, also of a measurement that fails. */
  keep(output: RawOutput): Promise<void>;
}

export interface Benchmark<C = unknown> extends AsyncDisposable {
  readonly name: string;
  /** Before any machine is touched. @throws ConfigurationError for a table that cannot be used */
  check?(config: C): void;
  run(
    config: C,
    target: BenchmarkTarget,
    params: ServingParams,
    context: BenchmarkContext,
  ): Promise<BenchmarkResult>;
}

export interface HttpProbe {
  /** undefined where nothing answers, or with another status than 200. */
  text(url: string, signal: AbortSignal): Promise<string | undefined>;
  /** The status, or undefined where nothing answers. */
  status(url: string, signal: AbortSignal): Promise<number | undefined>;
  /** Whether something accepts connections. */
  listens(host: string, port: number, signal: AbortSignal): Promise<boolean>;
}

/** Keeps what must survive: durable when `append` resolves. */
export interface RunStore extends AsyncDisposable {
  readonly runId: string;
  /** Where the run keeps its files on the controller. */
  readonly directory: string;
  append(entry: JournalEntry): Promise<void>;
  /** Writes a file of one trial, such as its plan or raw benchmark output. */
  keep(trialId: TrialId, name: string, content: string): Promise<void>;
}
