import { z } from 'zod';
import { ConfigurationError } from '../base/errors.ts';
import type { ConstraintRule } from '../core/space/constraints.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import type { GroupShape } from './parallel-config.ts';
import { didYouMean, InvalidConfiguration, type ConfigProblem } from './problems.ts';
import { topLevelShape, type TopLevel } from './schema.ts';
import type { ConfigDocument } from './sources.ts';
import { isTable, type Table } from './toml.ts';

/** What the configuration needs to know of an engine or a benchmark. */
export interface Tool {
  readonly name: string;
  readonly config: z.ZodType;
  /** Of a module of the user, by which it may be named. */
  readonly path?: string;
  /** The fields that its table declares, or its own where it declares none. */
  fieldsOf?(config: unknown, shape: GroupShape): readonly Field[];
  /** What its requests are like; benchmarks only. */
  workloadOf?(config: unknown): Workload | undefined;
  constraints?(config: unknown, shape: GroupShape): readonly ConstraintRule[];
  presets?(
    config: unknown,
    shape: GroupShape,
  ): readonly { readonly name: string; readonly params: ServingParams }[];
}

/** Tokens of a usual request. */
export interface Workload {
  readonly inputTokens: number;
  readonly outputTokens: number;
}

export interface Registry {
  readonly engines: readonly Tool[];
  readonly benchmarks: readonly Tool[];
  /** Tables of tools that this version reads but cannot run yet. */
  readonly otherTables: Readonly<Record<string, z.ZodType>>;
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

/** @throws InvalidConfiguration with every problem, its place and what is expected there */
export function validate(document: ConfigDocument, registry: Registry): TopLevel & Table {
  const tools = [...registry.engines, ...registry.benchmarks];
  const tables = Object.fromEntries(tools.map((tool) => [tool.name, tool.config.optional()]));
  const schema = z.strictObject({ ...topLevelShape, ...tables, ...registry.otherTables });
  const parsed = schema.safeParse(document.values);
  if (!parsed.success) throw new InvalidConfiguration(problemsOf(parsed.error, schema, document));
  return parsed.data;
}

export function pick<T extends Tool>(kind: string, name: string, tools: readonly T[]): T {
  const found = tools.find((tool) => tool.name === name || tool.path === name);
  if (found !== undefined) return found;
  const names = tools.map((tool) => tool.name);
  throw new ConfigurationError(
    `Unknown ${kind} '${name}'${didYouMean(name, names)}`,
    {},
    { remedy: `This version knows: ${names.join(', ')}.` },
  );
}
