import { z } from 'zod';
import { ConfigurationError, ModelEvalStateError } from '../base/errors.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import type { Coefficients } from '../core/pso/step.ts';
import { constriction } from '../core/pso/step.ts';
import { createSearchSpace, type SearchSpace } from '../core/space/space.ts';
import type { Field } from '../core/space/field.ts';
import { type HostGroups } from './host-lists.ts';
import { ParallelConfig, type NodeOptions } from './parallel-config.ts';
import { didYouMean, InvalidConfiguration, type ConfigProblem } from './problems.ts';
import { ignoredKeys, topLevelShape, type TopLevel } from './schema.ts';
import type { ConfigDocument, Table } from './sources.ts';
import { isTable } from './sources.ts';

/** What the command line may override. Names follow the flags. */
export interface Flags {
  readonly engine?: string | undefined;
  readonly benchmarkPolicy?: string | undefined;
  readonly parallel?: boolean | undefined;
  readonly npusPerNode?: number | undefined;
  readonly seed?: number | undefined;
  readonly output?: string | undefined;
  readonly identity?: string | undefined;
  readonly user?: string | undefined;
  readonly sshPort?: number | undefined;
  readonly acceptNewHostKeys?: boolean | undefined;
  readonly backup?: boolean | undefined;
  readonly pd?: string | undefined;
}

/** What the configuration needs to know of an engine or a benchmark. */
export interface Tool {
  readonly name: string;
  readonly config: z.ZodType;
  /** The fields of its table; engines only. */
  fieldsOf?(config: unknown): readonly Field[];
}

export interface Registry {
  readonly engines: readonly Tool[];
  readonly benchmarks: readonly Tool[];
  /** Tables of tools that this version reads but cannot run yet. */
  readonly otherTables: Readonly<Record<string, z.ZodType>>;
}

export interface Search {
  readonly algorithm: 'pso' | 'random';
  readonly particles: number;
  readonly maxEvaluations: number;
  readonly synchronous: boolean;
  readonly coefficients: Coefficients;
  readonly ftol: number;
  readonly ftolIter: number;
}

/** Everything resolved; nothing below the command line reads configuration again. Durations are seconds. */
export interface Settings {
  readonly engine: string;
  readonly engineConfig: unknown;
  readonly benchmark: string;
  readonly benchmarkConfig: unknown;
  readonly space: SearchSpace;
  readonly search: Search;
  readonly fitness: FitnessSettings;
  readonly parallel: ParallelConfig;
  /** A single group on this machine, without SSH. */
  readonly local: boolean;
  readonly output: string;
  readonly storeDir: string;
  readonly seed: number;
  readonly backup: boolean;
  /** How long to wait for a group to come back when all are down. */
  readonly recoveryTimeout: number;
  readonly acceptNewHostKeys: boolean;
  readonly notes: readonly string[];
}

/** What settings are made of; kept with a run, so that resuming resolves the very same. */
export interface SettingsInput {
  readonly document: ConfigDocument;
  readonly flags: Flags;
  /** From --hostfile or --node-string. */
  readonly hosts?: HostGroups | undefined;
}

export function knownKeys(registry: Registry): string[] {
  const tools = [...registry.engines, ...registry.benchmarks].map((tool) => tool.name);
  return [...Object.keys(topLevelShape), ...tools, ...Object.keys(registry.otherTables)];
}

function at(root: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (value as Record<PropertyKey, unknown> | undefined)?.[key],
    root,
  );
}

function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`))
    .join('')
    .replace(/^\./, '');
}

function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let node: unknown = schema;
  const open = (): void => {
    for (;;) {
      const inner = (node as { def?: { innerType?: unknown; out?: unknown } } | undefined)?.def;
      if (inner?.innerType !== undefined) node = inner.innerType;
      else if (inner?.out !== undefined) node = inner.out;
      else return;
    }
  };
  for (const key of path) {
    open();
    const def = (node as { def?: { element?: unknown; shape?: Record<string, unknown> } }).def;
    node = typeof key === 'number' ? def?.element : def?.shape?.[String(key)];
  }
  open();
  return Object.keys((node as { def?: { shape?: object } } | undefined)?.def?.shape ?? {});
}

function problemsOf(error: z.ZodError, schema: z.ZodType, document: ConfigDocument): ConfigProblem[] {
  const source = (path: readonly PropertyKey[]): string =>
    document.origin[String(path[0])] ?? 'configuration';
  return error.issues.flatMap((issue): ConfigProblem[] => {
    if (issue.code === 'unrecognized_keys') {
      const known = keysAt(schema, issue.path);
      return issue.keys.map((key) => {
        const path = [...issue.path, key];
        const nearest = didYouMean(key, known);
        const expected = `no such key${nearest === '' ? `; known here: ${known.join(', ')}` : nearest}`;
        return { source: source(path), at: pathText(path), expected };
      });
    }
    const value = at(document.values, issue.path);
    const shown = isTable(value) || Array.isArray(value) ? undefined : value;
    const expected = value === undefined ? `missing; give ${issue.message}` : issue.message;
    return [{ source: source(issue.path), at: pathText(issue.path), value: shown, expected }];
  });
}

function validate(document: ConfigDocument, registry: Registry): TopLevel & Table {
  const tools = [...registry.engines, ...registry.benchmarks];
  const tables = Object.fromEntries(tools.map((tool) => [tool.name, tool.config.optional()]));
  const schema = z.strictObject({ ...topLevelShape, ...tables, ...registry.otherTables });
  const parsed = schema.safeParse(document.values);
  if (!parsed.success) throw new InvalidConfiguration(problemsOf(parsed.error, schema, document));
  return parsed.data;
}

function pick<T extends Tool>(kind: string, name: string, tools: readonly T[]): T {
  const found = tools.find((tool) => tool.name === name);
  if (found !== undefined) return found;
  const names = tools.map((tool) => tool.name);
  throw new ConfigurationError(
    `Unknown ${kind} '${name}'${didYouMean(name, names)}`,
    {},
    { remedy: `This version knows: ${names.join(', ')}.` },
  );
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

function parallelOf(
  top: TopLevel,
  { flags, hosts }: SettingsInput,
): { parallel: ParallelConfig; local: boolean } {
  const node: Partial<NodeOptions> = {
    ...(flags.identity === undefined ? {} : { identity_file: flags.identity }),
    ...(flags.user === undefined ? {} : { username: flags.user }),
    ...(flags.sshPort === undefined ? {} : { ssh_port: flags.sshPort }),
  };
  const defaults = { ...top.parallel.defaults, ...node } as TopLevel['parallel']['defaults'];
  const { evaluation_timeout, retry_count, retry_delay } = top.parallel;
  const bounds = { evaluation_timeout, retry_count, retry_delay };
  const npus = flags.npusPerNode;
  if (hosts !== undefined) {
    const made = ParallelConfig.fromHosts(hosts.groups, {
      defaults,
      ...(npus === undefined ? {} : { npusPerNode: npus }),
    });
    return {
      parallel: new ParallelConfig({ enabled: true, service_groups: made.service_groups, ...bounds }),
      local: false,
    };
  }
  if (flags.parallel === true || top.parallel.enabled) {
    if (top.parallel.service_groups.length === 0) {
      throw new ConfigurationError(
        'service_groups cannot be empty when parallel is enabled',
        {},
        {
          remedy:
            'Give --hostfile FILE or --node-string "n0,n1:n2,n3", or [[parallel.service_groups]] tables.',
        },
      );
    }
    const groups = top.parallel.service_groups.map((group) => ({
      ...group,
      nodes: group.nodes.map((one) => ({ ...one, ...node })),
    }));
    const table = { ...top.parallel, enabled: true, service_groups: groups } as TopLevel['parallel'];
    return { parallel: ParallelConfig.fromSettings(table), local: false };
  }
  const here = [{ groupId: 0, hosts: ['127.0.0.1'] }];
  const made = ParallelConfig.fromHosts(here, {
    defaults,
    ...(npus === undefined ? {} : { npusPerNode: npus }),
  });
  return {
    parallel: new ParallelConfig({ enabled: true, service_groups: made.service_groups, ...bounds }),
    local: true,
  };
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
    ...(top.pso_strategy === undefined ? [] : ['pso_strategy: accepted, the coefficients stay constant']),
  ];
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
  const benchmark = pick(
    'benchmark',
    flags.benchmarkPolicy ?? top.benchmark ?? 'builtin',
    registry.benchmarks,
  );
  const engineConfig = top[engine.name] ?? engine.config.parse({});
  const { parallel, local } = parallelOf(top, input);
  const output = flags.output ?? top.output;
  return Object.freeze({
    engine: engine.name,
    engineConfig,
    benchmark: benchmark.name,
    benchmarkConfig: top[benchmark.name] ?? benchmark.config.parse({}),
    space: spaceOf(engine, engineConfig, document),
    search: {
      algorithm: top.algorithm,
      particles: Math.min(top.n_particles, 200),
      maxEvaluations: Math.min(top.n_particles, 200) * Math.min(top.iters, 200),
      synchronous: top.synchronous,
      coefficients: {
        c1: top.pso_options?.c1 ?? constriction.c1,
        c2: top.pso_options?.c2 ?? constriction.c2,
        w: top.pso_options?.w ?? constriction.w,
      },
      ftol: top.ftol,
      ftolIter: top.ftol_iter,
    },
    fitness: {
      ttft_penalty: top.ttft_penalty,
      tpot_penalty: top.tpot_penalty,
      success_rate_penalty: top.success_rate_penalty,
      ttft_slo: top.ttft_slo,
      tpot_slo: top.tpot_slo,
      success_rate_slo: top.success_rate_slo,
      generate_speed_target: top.generate_speed_target,
    },
    parallel,
    local,
    output,
    storeDir: top.data_storage.store_dir ?? `${output}/store`,
    seed: flags.seed ?? top.seed ?? 0,
    backup: flags.backup ?? false,
    recoveryTimeout: top.parallel.recovery_timeout,
    acceptNewHostKeys: flags.acceptNewHostKeys ?? false,
    notes,
  });
}

function spaceOf(engine: Tool, engineConfig: unknown, document: ConfigDocument): SearchSpace {
  const fields = engine.fieldsOf?.(engineConfig) ?? [];
  const source = document.origin[engine.name] ?? 'configuration';
  const problems: ConfigProblem[] = [];
  for (const [index, field] of fields.entries()) {
    try {
      createSearchSpace(
        [field].map((one) => ({
          ...one,
          dtype: one.dtype === 'ratio' || one.dtype === 'factories' ? 'float' : one.dtype,
        })),
      );
    } catch (error) {
      if (!(error instanceof ModelEvalStateError)) throw error;
      problems.push({
        source,
        at: `${engine.name}.target_field[${index}] (${field.name})`,
        expected: error.message,
      });
    }
  }
  if (fields.length === 0) {
    problems.push({
      source,
      at: `${engine.name}.target_field`,
      expected: `at least one [[${engine.name}.target_field]]: without a field there is nothing to tune`,
    });
  }
  if (problems.length > 0) throw new InvalidConfiguration(problems);
  return createSearchSpace(fields);
}
