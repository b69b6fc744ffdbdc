import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { benchmarks, type BenchmarkKind } from './benchmarks/index.ts';
import { ConfigurationError } from './base/errors.ts';
import { topLevelShape } from './config/schema.ts';
import { fieldsSchema } from './config/schema-tables.ts';
import type { Field } from './core/space/field.ts';
import { engines } from './engines/index.ts';
import type { Benchmark, BenchmarkResult, Engine } from './parallel/ports.ts';

/** Engines and benchmarks of the user: ES modules whose default export is one. */

type Exported = Readonly<Record<string, unknown>>;

/** A name that is the path of a module. */
export const isPath = (name: string): boolean => /[/\\]/.test(name) || /\.m?js$/.test(name);

/** A path that still leads there from another directory. */
export const absolutePath = <T>(name: T): T | string =>
  typeof name === 'string' && isPath(name) ? resolve(name) : name;

function wrong(path: string, problems: readonly string[], kind: 'engine' | 'benchmark'): ConfigurationError {
  return new ConfigurationError(
    `${path} is no ${kind}: ${problems.join('; ')}`,
    {},
    { remedy: `See docs/own-${kind}.md for a template.` },
  );
}

async function defaultExport(path: string, kind: 'engine' | 'benchmark'): Promise<Exported> {
  const file = resolve(path);
  if (!existsSync(file)) {
    const remedy = 'Check the path; it counts from where the command is run.';
    throw new ConfigurationError(`There is no file ${file}`, {}, { remedy });
  }
  let module: { readonly default?: unknown };
  try {
    module = (await import(pathToFileURL(file).href)) as typeof module;
  } catch (cause) {
    const remedy =
      'It must be an ES module: name it .mjs, or put "type": "module" into the package.json beside it.';
    throw new ConfigurationError(
      `${path} cannot be loaded: ${(cause as Error).message}`,
      {},
      { cause, remedy },
    );
  }
  const found = module.default;
  if (typeof found === 'object' && found !== null) return found as Exported;
  throw wrong(path, ['it has no default export, or one that is no object'], kind);
}

/** What is missing or of the wrong kind. */
function problemsOf(exported: Exported, needed: readonly string[], optional: readonly string[]): string[] {
  const name = exported['name'];
  return [
    ...(typeof name === 'string' && /^[a-z][a-z0-9_]*$/.test(name)
      ? []
      : ['`name` must be a text of small letters, digits and _']),
    ...needed
      .filter((key) => typeof exported[key] !== 'function')
      .map((key) => `\`${key}\` must be a function`),
    ...optional
      .filter((key) => exported[key] !== undefined && typeof exported[key] !== 'function')
      .map((key) => `\`${key}\` must be a function where it is given`),
  ];
}

/** `config`: a zod schema of its table, a function that makes one with our zod, or nothing: any table then. */
function schemaOf(config: unknown): z.ZodType | undefined {
  if (config === undefined) return z.record(z.string(), z.unknown()).default({});
  const made: unknown = typeof config === 'function' ? (config as (zod: typeof z) => unknown)(z) : config;
  const isSchema =
    typeof made === 'object' && made !== null && typeof (made as { parse?: unknown }).parse === 'function';
  return isSchema ? (made as z.ZodType) : undefined;
}

const notTaken = (name: unknown, taken: readonly { readonly name: string }[]): string[] =>
  taken.some((one) => one.name === name) || Object.hasOwn(topLevelShape, String(name))
    ? [`the name ${String(name)} is taken`]
    : [];

const schemaProblem = (schema: z.ZodType | undefined): string[] =>
  schema === undefined ? ['`config` must be a zod schema, or a function that makes one'] : [];

/** Methods keep their object: they may use each other. */
function bound(exported: Exported, ...keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    keys.flatMap((key) => {
      const method = exported[key];
      if (typeof method !== 'function') return [];
      return [[key, (method as (...words: unknown[]) => unknown).bind(exported)] as const];
    }),
  );
}

const patternSchema = z.looseObject({
  text: z.string().min(1),
  blame: z.enum(['params', 'load', 'node', 'benchmark', 'operator', 'program']),
  remedy: z.string(),
  fatal: z.boolean(),
});

function patternProblems(patterns: unknown): string[] {
  const parsed = z.array(patternSchema).safeParse(patterns);
  if (parsed.success) return [];
  const [issue] = parsed.error.issues;
  return [
    `\`logPatterns${(issue?.path ?? []).map((key) => `[${String(key)}]`).join('')}\`: ${issue?.message ?? ''}`,
  ];
}

/** With the defaults that fields have in a configuration file. */
function checkedFields(path: string, fields: unknown): readonly Field[] {
  const parsed = fieldsSchema().safeParse(fields);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = (issue?.path ?? []).map(String).join('.');
  throw wrong(path, [`\`fieldsOf\` gives no fields: ${where} ${issue?.message ?? ''}`], 'engine');
}

/** @throws ConfigurationError that says what is wrong with the export */
export async function ownEngine(path: string): Promise<Engine & { readonly path: string }> {
  const exported = await defaultExport(path, 'engine');
  const config = schemaOf(exported['config']);
  const patterns = exported['logPatterns'] ?? [];
  const optional = [
    'presets',
    'constraints',
    'needs',
    'inspection',
    'putBack',
    'refine',
    'readBack',
  ] as const;
  const problems = [
    ...problemsOf(exported, ['plan', 'fieldsOf'], optional),
    ...notTaken(exported['name'], engines),
    ...schemaProblem(config),
    ...patternProblems(patterns),
  ];
  if (problems.length > 0 || config === undefined) throw wrong(path, problems, 'engine');
  const { name } = exported as { readonly name: string };
  const methods = bound(exported, 'plan', 'fieldsOf', ...optional) as unknown as Engine;
  const fieldsOf: Engine['fieldsOf'] = (table, shape) => checkedFields(path, methods.fieldsOf(table, shape));
  const numerics = exported['changesNumerics'];
  const more = Array.isArray(numerics) ? { changesNumerics: numerics.map(String) } : {};
  return {
    ...methods,
    ...more,
    fieldsOf,
    path,
    name,
    config,
    logPatterns: patterns as Engine['logPatterns'],
  };
}

const measured = z.number().nullable();

/** What `run` gives, with what may be left out; zod refuses NaN and Infinity. */
const resultSchema: z.ZodType<BenchmarkResult> = z.strictObject({
  performance: z.strictObject({
    generate_speed: measured,
    time_to_first_token: measured,
    time_per_output_token: measured,
    success_rate: measured,
    throughput: measured,
  }),
  percentiles: z
    .partialRecord(z.enum(['ttft_ms', 'tpot_ms', 'itl_ms', 'e2el_ms']), z.record(z.string(), z.number()))
    .default({}),
  goodput: measured.default(null),
  numPrompts: z.int().min(0),
  raw: z.array(z.strictObject({ name: z.string(), content: z.string() })).default([]),
  flags: z.array(z.string()).default([]),
});

/** @throws ConfigurationError naming the key */
function checkedResult(path: string, result: unknown): BenchmarkResult {
  const parsed = resultSchema.safeParse(result);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(
    ({ path: at, message }) => `${at.map(String).join('.')}: ${message}`,
  );
  throw new ConfigurationError(
    `${path}: \`run\` gives no result: ${issues.slice(0, 3).join('; ')}`,
    {},
    { remedy: 'Correct the module; null stands for what was not measured. See docs/own-benchmark.md.' },
  );
}

/** @throws ConfigurationError that says what is wrong with the export */
export async function ownBenchmark(path: string): Promise<BenchmarkKind & { readonly path: string }> {
  const exported = await defaultExport(path, 'benchmark');
  const config = schemaOf(exported['config']);
  const problems = [
    ...problemsOf(exported, ['run'], ['check', 'preview', 'fieldsOf']),
    ...notTaken(exported['name'], benchmarks),
    ...schemaProblem(config),
  ];
  if (problems.length > 0 || config === undefined) throw wrong(path, problems, 'benchmark');
  const { name } = exported as { readonly name: string };
  const nothing = { [Symbol.asyncDispose]: async () => Promise.resolve() };
  const methods = bound(exported, 'run', 'check', 'preview') as unknown as Benchmark;
  const benchmark: Benchmark = {
    ...nothing,
    ...methods,
    name,
    run: async (...words) => checkedResult(path, await methods.run(...words)),
  };
  const fields = bound(exported, 'fieldsOf') as Pick<BenchmarkKind, 'fieldsOf'>;
  return { path, name, config, ...fields, create: async () => Promise.resolve(benchmark) };
}

/** Makes those that are named by a path known, once. @throws ConfigurationError */
export async function knowOwn(names: {
  readonly engine: string | undefined;
  readonly benchmark: string | undefined;
}): Promise<void> {
  const { engine, benchmark } = names;
  if (engine !== undefined && isPath(engine) && !engines.some(({ path }) => path === engine)) {
    engines.push(await ownEngine(engine));
  }
  if (benchmark !== undefined && isPath(benchmark) && !benchmarks.some(({ path }) => path === benchmark)) {
    benchmarks.push(await ownBenchmark(benchmark));
  }
}
