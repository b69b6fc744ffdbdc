import { ConfigurationError } from '../base/errors.ts';
import type { FitnessSettings, Objective } from '../core/fitness/fitness.ts';
import { tooFew } from '../core/fitness/enough.ts';
import type { Measured } from '../core/pso/optimizer.ts';
import type { ServingParams } from '../core/space/field.ts';
import type { SearchSpace, SpaceRules } from '../core/space/space.ts';
import { type HostGroups } from './host-lists.ts';
import type { ParallelConfig } from './parallel-config.ts';
import { inParts, refuseParts } from './node-parts.ts';
import { limited, parallelOf, usesSlurm } from './parallel-settings.ts';
import {
  loadOf,
  loadRuleOf,
  searchOf,
  type NestedLoad,
  type Search,
  type TwoStage,
} from './search-settings.ts';
import { searchedSpace, spaceOf } from './space-settings.ts';
import { ignoredKeys, type TopLevel } from './schema.ts';
import type { RuntimeTable } from './schema-tables.ts';
import type { ConfigDocument } from './sources.ts';
import { isTable, type Table } from './toml.ts';
import { fitnessOf, judgedStatistics, plannedRequests, refuseGoodputOfNothing } from './judging.ts';
import { simulatedOf, type Simulated } from './simulated.ts';
import { userPatterns, type UserPatterns } from './user-patterns.ts';
import { pick, validate, type Registry, type Tool, type Workload } from './validate.ts';

/** What the command line may override. Names follow the flags. */
export interface Flags {
  readonly engine?: string | undefined;
  readonly benchmarkPolicy?: string | undefined;
  readonly parallel?: boolean | undefined;
  readonly npusPerNode?: number | undefined;
  readonly groupsPerNode?: number | undefined;
  readonly seed?: number | undefined;
  readonly output?: string | undefined;
  readonly identity?: string | undefined;
  readonly user?: string | undefined;
  readonly sshPort?: number | undefined;
  readonly sshConfig?: string | undefined;
  readonly acceptNewHostKeys?: boolean | undefined;
  readonly launcher?: 'ssh' | 'slurm' | undefined;
  /** Options of sbatch for the allocation that a run makes. */
  readonly slurm?: string | undefined;
  readonly backup?: boolean | undefined;
  readonly pd?: string | undefined;
  readonly simulate?: boolean | undefined;
  /** SLOs in words, in place of those of the configuration. */
  readonly slo?: readonly string[] | undefined;
  readonly objective?: Objective | undefined;
  readonly maxEvaluations?: number | undefined;
  /** Seconds. */
  readonly budget?: number | undefined;
}

/** Everything resolved; nothing below the command line reads configuration again. Durations are seconds. */
export interface Settings {
  readonly engine: string;
  readonly engineConfig: unknown;
  readonly benchmark: string;
  readonly benchmarkConfig: unknown;
  readonly space: SearchSpace;
  /** Configurations of experts, tried after the present one. */
  readonly presets: readonly ServingParams[];
  /** What configurations must keep. */
  readonly rules: SpaceRules;
  /** Bounds are derived from device memory; undefined: not. */
  readonly theory: { readonly memCoefficient: number; readonly scalingCoefficient: number } | undefined;
  /** Tokens of a usual request, where the benchmark says so. */
  readonly workload: Workload | undefined;
  readonly runtime: RuntimeTable;
  readonly patterns: UserPatterns;
  readonly search: Search;
  readonly fitness: FitnessSettings;
  /** The rules of the original for the load; undefined: it is a part of the search. */
  readonly twoStage: TwoStage | undefined;
  /** undefined: the load is given, or by the rule of the original. */
  readonly nestedLoad: NestedLoad | undefined;
  /** What an earlier study measured. */
  readonly history: readonly Measured[];
  readonly budget: {
    /** Seconds of wall clock. */
    readonly seconds: number | undefined;
    /** Seconds, as the user expects them. */
    readonly expectedStart: number | undefined;
    readonly expectedBenchmark: number | undefined;
    /** Evaluations without a gain after which the search ends. */
    readonly patience: number | undefined;
  };
  readonly confirmation: { readonly runs: number; readonly finalists: number };
  readonly parallel: ParallelConfig;
  /** A single group on this machine, without SSH. */
  readonly local: boolean;
  readonly output: string;
  readonly storeDir: string;
  readonly seed: number;
  /** At most so many prompts, while the swarm searches. */
  readonly sampleSize: number | undefined;
  /** Benchmarks that cannot become the best any more are ended. */
  readonly abortHopeless: boolean;
  /** A service is kept for the next trial that it can be measured with. */
  readonly reuseService: boolean;
  readonly backup: boolean;
  /** How long to wait for a group to come back when all are down. */
  readonly recoveryTimeout: number;
  /** Between two looks at idle groups. */
  readonly healthInterval: number;
  /** Seconds. */
  readonly leaseTimeout: number;
  /** What becomes of groups whose speed is another one by more than `tolerance`, a share. */
  readonly unequal: { readonly policy: TopLevel['parallel']['groups']; readonly tolerance: number };
  readonly groupLimits: { readonly max: number; readonly min: number };
  /** Whether ports of services are forwarded over SSH. */
  readonly forwardPorts: 'auto' | 'always' | 'never';
  /** A model in place of machines, on a virtual clock. */
  readonly simulation: Simulated | undefined;
  readonly acceptNewHostKeys: boolean;
  /** The job of Slurm whose steps our commands are; undefined: nodes are reached by SSH. */
  readonly slurmJob: string | undefined;
  readonly notes: readonly string[];
}

/** A hostfile, and how its hosts become groups. */
export interface HostfilePlace {
  readonly path: string;
  readonly nodesPerGroup: number;
  readonly include?: string | undefined;
  readonly exclude?: string | undefined;
}

/** What settings are made of; kept with a run, so that resuming resolves the very same. */
export interface SettingsInput {
  readonly document: ConfigDocument;
  readonly flags: Flags;
  /** From --hostfile or --node-string. */
  readonly hosts?: HostGroups | undefined;
  /** Where the hosts are from, which is looked at again while the run goes on. */
  readonly hostfile?: HostfilePlace | undefined;
  /** The allocation of Slurm that is used. */
  readonly slurmJob?: string | undefined;
  /** What tables of the original say that was measured before. */
  readonly history?: readonly Measured[] | undefined;
  /** Configurations to try first, after the present one. */
  readonly seeds?: readonly ServingParams[] | undefined;
}

/** -e, else `engine`, else the only engine with a table, else mindie with a warning; a start script means `script`. */
function engineName(top: TopLevel & Table, flags: Flags, registry: Registry, notes: string[]): string {
  const named = flags.engine ?? top.engine;
  if (named !== undefined) return named;
  const known = [...new Set([...registry.engines.map((tool) => tool.name), 'vllm', 'mindie'])];
  const tables = known.filter((name) => isTable(top[name]));
  if (tables.length === 1) return tables[0] as string;
  if (tables.length > 1) {
    notes.push(`several engine tables (${tables.join(', ')}) and no -e: taking mindie`);
    return 'mindie';
  }
  throw new ConfigurationError(
    'No engine is configured',
    {},
    { remedy: 'Write a config.toml with engine = "script" (see config.example.toml) and give it with -c.' },
  );
}

function notesOf(
  top: TopLevel & Table,
  document: ConfigDocument,
  flags: Flags,
  hosts: HostGroups | undefined,
): string[] {
  const ignored = ignoredKeys.filter((key) => key in document.values);
  return [
    ...(hosts?.warnings ?? []),
    ...(ignored.length === 0
      ? []
      : [`${ignored.join(', ')}: accepted from the original's files, without effect`]),
    ...(flags.pd === 'disaggregation' ? ['--pd disaggregation: let the start script deploy both roles'] : []),
    ...(Object.values(top.pso_strategy ?? {}).includes('random')
      ? ['pso_strategy "random": there is no such schedule; that coefficient stays constant']
      : []),
  ];
}

function budgetOf(
  top: TopLevel,
  flags: Flags,
  { service_groups: groups }: ParallelConfig,
): Settings['budget'] {
  const { patience } = top;
  const usual = Math.max(20, 3 * groups.length);
  return {
    seconds: flags.budget ?? top.budget,
    expectedStart: top.expected_start,
    expectedBenchmark: top.expected_benchmark,
    patience: patience === true ? usual : Number(patience) || undefined,
  };
}

const theoryOf = (top: TopLevel): Settings['theory'] =>
  top.theory_guided_enable
    ? { memCoefficient: top.mem_coefficient, scalingCoefficient: top.scaling_coefficient }
    : undefined;

function presetsOf(top: TopLevel, engine: Tool, config: unknown, { shape }: ParallelConfig): ServingParams[] {
  const presets = top.presets ? engine.presets?.(config, shape) : undefined;
  return (presets ?? []).map(({ params }) => params);
}

function benchmarkOf(top: TopLevel, { benchmarkPolicy }: Flags, { benchmarks }: Registry): Tool {
  return pick('benchmark', benchmarkPolicy ?? top.benchmark ?? 'builtin', benchmarks);
}

/** @throws ConfigurationError where steps have no job to be in */
function slurmJobOf({ parallel }: TopLevel, { flags, slurmJob }: SettingsInput): string | undefined {
  if (!usesSlurm(parallel, flags) || flags.simulate === true) return undefined;
  if (slurmJob !== undefined) return slurmJob;
  throw new ConfigurationError(
    'The launcher slurm runs job steps, and there is no job',
    {},
    {
      remedy:
        'Run inside an allocation (salloc, sbatch), or let one be made with --slurm "OPTIONS OF SBATCH".',
    },
  );
}

/**
 * Flags over environment over files over defaults.
 * @throws InvalidConfiguration with every problem found, or ConfigurationError
 */
export function resolveSettings(input: SettingsInput, registry: Registry): Settings {
  const { document, flags, hosts } = input;
  const top = validate(document, registry);
  const notes = notesOf(top, document, flags, hosts);
  const engine = pick('engine', engineName(top, flags, registry, notes), registry.engines);
  const benchmark = benchmarkOf(top, flags, registry);
  const engineConfig = top[engine.name] ?? engine.config.parse({});
  const { parallel: all, local } = parallelOf(top, input);
  const parts = flags.groupsPerNode ?? top.parallel.groups_per_node;
  refuseParts(parts, engine);
  const parallel = limited(inParts(all, parts), top.parallel);
  const benchmarkConfig = top[benchmark.name] ?? benchmark.config.parse({});
  const tools = [
    { tool: engine, config: engineConfig },
    { tool: benchmark, config: benchmarkConfig },
  ];
  const { space, rules } = spaceOf(tools, document, top, parallel.shape);
  const loadRule = loadRuleOf(top, space);
  const fitness = fitnessOf(top, flags);
  refuseGoodputOfNothing(fitness, benchmark.name, benchmarkConfig);
  notes.push(...tooFew(judgedStatistics(fitness, benchmarkConfig), plannedRequests(top, benchmarkConfig)));
  const output = flags.output ?? top.output;
  return Object.freeze({
    engine: engine.name,
    engineConfig,
    benchmark: benchmark.name,
    benchmarkConfig,
    space: searchedSpace(space, rules, loadRule),
    rules,
    theory: theoryOf(top),
    workload: benchmark.workloadOf?.(benchmarkConfig),
    presets: [...(input.seeds ?? []), ...presetsOf(top, engine, engineConfig, parallel)],
    runtime: top.runtime,
    patterns: userPatterns(top.health_check),
    search: searchOf(top, flags),
    budget: budgetOf(top, flags, parallel),
    fitness,
    ...loadOf(top, space, loadRule),
    history: input.history ?? [],
    confirmation: { runs: top.confirm_runs, finalists: top.data_storage.pso_top_k },
    parallel,
    local,
    output,
    storeDir: top.data_storage.store_dir ?? `${output}/store`,
    seed: flags.seed ?? top.seed ?? 0,
    sampleSize: top.sample_size,
    abortHopeless: top.abort_hopeless,
    reuseService: top.reuse_service,
    backup: flags.backup ?? false,
    recoveryTimeout: top.parallel.recovery_timeout,
    healthInterval: top.parallel.health_interval,
    leaseTimeout: top.parallel.lease_timeout,
    forwardPorts: top.parallel.forward_ports,
    groupLimits: { max: top.parallel.max_groups, min: top.parallel.min_groups },
    unequal: { policy: top.parallel.groups, tolerance: top.parallel.group_tolerance },
    simulation: flags.simulate === true ? simulatedOf(top, engineConfig, parallel) : undefined,
    acceptNewHostKeys: flags.acceptNewHostKeys ?? false,
    slurmJob: slurmJobOf(top, input),
    notes,
  });
}

export type { Simulated } from './simulated.ts';
