import type { Clock } from '../base/clock.ts';
import type { EventSink } from '../base/events.ts';
import type { GroupId, Ms, TrialId } from '../base/units.ts';
import type { SloStatistic } from '../core/fitness/slo.ts';
import type { Judged, Percentiles, PerformanceIndex } from '../core/fitness/fitness.ts';
import type { ServingParams } from '../core/space/field.ts';
import type { Command, Executor } from './machine-port.ts';

/** What a load tool is: one measurement of a service that runs. */

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

/** Of the workload as it really was. */
export interface Traits {
  /** A request, on average. */
  readonly output_tokens: number;
  /** Share of answers that ended at their limit. */
  readonly length_share?: number;
  readonly prefix_cache_hit_ratio?: number;
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
  /** What must be alike where measurements are compared; absent where the tool does not tell. */
  readonly traits?: Traits;
  /** Greedy answers to the same questions. */
  readonly canary?: readonly string[];
  /** It was ended early because nothing could save it: `performance` is what it could have come to at best. */
  readonly censored?: {
    /** What it would have come to if it had gone on as it began. */
    readonly running: Judged;
  };
}

/** This machine, the master of the group, or a host for load alone. */
export type LoadPlace = 'controller' | 'master' | `host:${string}`;

/** A machine that load tools can run on. */
export interface ToolHost {
  readonly executor: Executor;
  /** For this measurement alone. */
  readonly directory: string;
  /** A directory that is there, above it. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** What `wrap` starts may go on when its command is ended, as in containers. */
  readonly outlives: boolean;
  /** As a process of this run, to be found and ended like all others. */
  wrap(command: Command): Command;
  /** The same for what needs nothing of an engine's container. */
  wrapOnHost(command: Command): Command;
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
  /** Percentiles of latencies that decide, beside the usual ones. */
  readonly percentiles?: readonly SloStatistic[];
  /** Ask for greedy answers to the same questions as well. */
  readonly canary?: boolean;
  /** Whether a measurement that comes to this at best need not be finished; undefined: all are. */
  readonly isHopeless?: ((bounds: Judged) => boolean) | undefined;
  /** So many of its requests have ended. */
  progress(done: number, total: number): void;
  /** One request that fails misses an SLO. */
  readonly mustAllSucceed?: boolean;
  /** At most so many prompts, while the swarm searches. */
  readonly sampleSize: number | undefined;
  toolHost(where: LoadPlace): Promise<ToolHost>;
  /** Keeps a file in the trial's folder, also of a measurement that fails. */
  keep(output: RawOutput): Promise<void>;
}

export interface BenchmarkPreview {
  readonly where: LoadPlace;
  readonly argv?: readonly string[];
  readonly says?: string;
}

export interface Benchmark<C = unknown> extends AsyncDisposable {
  readonly name: string;
  /** Before any machine is touched. @throws ConfigurationError for a table that cannot be used */
  check?(config: C): void;
  /** What it would do, for a dry run: where, and the words of a command or a sentence. */
  preview?(config: C, target: BenchmarkTarget, params: ServingParams): BenchmarkPreview;
  run(
    config: C,
    target: BenchmarkTarget,
    params: ServingParams,
    context: BenchmarkContext,
  ): Promise<BenchmarkResult>;
}
