import type { z } from 'zod';
import type { GroupId, Ms, TrialId } from '../base/units.ts';
import type { GroupShape, NodeConfig, ServiceGroupConfig } from '../config/parallel-config.ts';
import type { Pattern } from '../core/resilience/start-failure.ts';
import type { ConstraintRule } from '../core/space/constraints.ts';
import type { Field, ParamValue, ServingParams } from '../core/space/field.ts';
import type { BenchmarkTarget } from './benchmark-port.ts';
import type { Command } from './machine-port.ts';

/** What an engine is: its fields, and what starting it on a group means, as data. */

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
  /** Variables of its command that are there for the sake of measuring it: a service that stays goes without. */
  readonly scaffold?: readonly string[];
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

export interface EngineNeeds {
  /** Words of its command, which tells its version with --version. */
  readonly executable?: readonly string[];
  /** Path, or name of a hub. */
  readonly model?: string;
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
  /** What must be on every node before a start, for a look beforehand. */
  needs?(config: C): EngineNeeds;
  /** Looked at once a node when it is connected; what it prints reaches `plan` as `inspected`. */
  inspection?(config: C, node: NodeConfig, group: ServiceGroupConfig): Command | undefined;
  /** Undoes what a run that crashed left edited on a node; prints `restored PATH`. What was not edited stays. */
  putBack?(config: C, node: NodeConfig, group: ServiceGroupConfig): Command | undefined;
  /** Why a configuration cannot fit into the devices' memory, with numbers: it needs no start to be found out. */
  refused?(config: C, params: ServingParams, topology: GroupTopology, guidance: Guidance): string | undefined;
  /** Fields as the inspected master says: present values, bounds that its memory allows. */
  refine?(config: C, fields: readonly Field[], topology: GroupTopology, guidance: Guidance): Refined;
  readBack?(config: C, params: ServingParams, topology: GroupTopology): ReadBack | undefined;
  /** Fields whose values change what the model computes, not only how fast. */
  readonly changesNumerics?: readonly string[];
}
