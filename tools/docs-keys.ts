import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { format, resolveConfig } from 'prettier';
import type { z } from 'zod';
import { registry } from '../src/compose.ts';
import { groupSchema, parallelSchema, runtimeSchema } from '../src/config/schema-tables.ts';
import { ignoredKeys, topLevelShape } from '../src/config/schema.ts';

/** `npm run docs:keys`: writes the tables of keys in docs/, between their marks, from the schemas. */

const docs = resolve(import.meta.dirname, '../docs');

type Shape = Readonly<Record<string, z.ZodType>>;

/** The object below its defaults, transforms and lists. */
function shapeOf(schema: z.ZodType): Shape {
  const { def } = schema as unknown as {
    def: { shape?: Shape; innerType?: z.ZodType; element?: z.ZodType; out?: z.ZodType };
  };
  if (def.shape !== undefined) return def.shape;
  const inner = def.innerType ?? def.element ?? def.out;
  if (inner === undefined) throw new Error('this schema has no keys');
  return shapeOf(inner);
}

/** What a value must be, in the words of its error. */
function expectation(schema: z.ZodType): string {
  const { error } = schema.safeParse(Symbol());
  return (error?.issues[0]?.message ?? 'anything').replaceAll('|', '\\|');
}

function usual(schema: z.ZodType): string {
  const stated = schema.meta()?.['usual'];
  if (typeof stated === 'string') return stated;
  const { data } = schema.safeParse(undefined);
  if (data === -Infinity) return '-inf';
  if (typeof data === 'number' || typeof data === 'boolean') return String(data);
  if (typeof data === 'string') return data === '' ? '' : `\`${data}\``;
  return Array.isArray(data) && data.length > 0 ? `\`${JSON.stringify(data)}\`` : '';
}

/** Keys of tables inside it with the name of theirs before them. */
function flat(shape: Shape, prefix = ''): Shape {
  return Object.assign(
    {},
    ...Object.entries(shape).map(([key, schema]) => {
      const { def } = schema as unknown as { def: { innerType?: { def: { shape?: Shape } } } };
      const inner = def.innerType?.def.shape;
      const isLeaf = inner === undefined || schema.description !== undefined;
      return isLeaf ? { [prefix + key]: schema } : flat(inner, `${prefix}${key}.`);
    }),
  ) as Shape;
}

function table(shape: Shape, without: readonly string[] = []): string {
  const rows = Object.entries(shape)
    .filter(([key]) => !without.includes(key))
    .map(([key, schema]) => {
      if (schema.description === undefined) throw new Error(`${key} has no description`);
      return `| \`${key}\` | ${usual(schema)} | ${expectation(schema)} | ${schema.description} |`;
    });
  return ['| key | default | value | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

const { simulate } = topLevelShape;
const parallel = shapeOf(parallelSchema);
const group = shapeOf(groupSchema);
const tables: Readonly<Record<string, () => string>> = {
  'top level': () => table(topLevelShape, [...ignoredKeys, 'simulate']),
  parallel: () => table(parallel, ['defaults', 'service_groups']),
  groups: () =>
    table({ host: shapeOf(group['nodes'] as z.ZodType)['host'] as z.ZodType, ...group }, ['nodes']),
  runtime: () => table(shapeOf(runtimeSchema)),
  simulate: () => table(shapeOf(simulate)),
  ...Object.fromEntries(
    [...registry.engines, ...registry.benchmarks].map(({ name, config }) => [
      name,
      () => table(flat(shapeOf(config))),
    ]),
  ),
};

/** Pages with tables. */
export const pages = [
  'configuration.md',
  'simulation.md',
  ...['engines', 'benchmarks'].flatMap((folder) =>
    readdirSync(join(docs, folder)).map((file) => join(folder, file)),
  ),
].map((file) => join(docs, file));

/** The page with its tables as the schema has them. */
export async function written(page: string): Promise<string> {
  const filled = readFileSync(page, 'utf8').replaceAll(
    /(<!-- keys: (.+?) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_, before: string, name: string, after: string) => {
      const make = tables[name];
      if (make === undefined) throw new Error(`${page}: there is no table '${name}'`);
      return `${before}\n${make()}\n\n${after}`;
    },
  );
  return format(filled, { ...(await resolveConfig(page)), parser: 'markdown' });
}

if (import.meta.filename === process.argv[1]) {
  for (const page of pages) writeFileSync(page, await written(page));
}
