import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'csv-parse/sync';
import { ConfigurationError } from '../base/errors.ts';
import { fitness, type FitnessSettings } from '../core/fitness/fitness.ts';
import type { Measured } from '../core/pso/optimizer.ts';
import { isConstant, type Field, type ParamValue } from '../core/space/field.ts';

/** Tables that the original left: what it measured is where a new swarm begins. */

type Row = Readonly<Record<string, string>>;

function tables(directory: string): string[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    return [];
  }
  return names
    .filter((name) => /^data_storage.*\.csv$/.test(name))
    .map((name) => join(directory, name))
    .filter((file) => statSync(file).isFile())
    .sort((a, b) => statSync(a).ctimeMs - statSync(b).ctimeMs);
}

function rowsOf(file: string): Row[] {
  try {
    return parse<Row>(readFileSync(file, 'utf8'), {
      columns: true,
      skip_empty_lines: true,
      relax_column_count: true,
    });
  } catch (cause) {
    throw new ConfigurationError(
      `Cannot read the table ${file}: ${(cause as Error).message}`,
      {},
      { cause, remedy: 'Move it away, or start without --load-breakpoint.' },
    );
  }
}

function valueOf(text: string | undefined, field: Field): ParamValue | undefined {
  if (text === undefined || text === '') return undefined;
  if (field.dtype === 'bool') return ['true', '1', '1.0'].includes(text.toLowerCase());
  const value = Number(text);
  if (Number.isNaN(value))
    return field.dtype === 'enum' || field.dtype === 'str' ? text.replace(/^'/, '') : undefined;
  return field.dtype === 'int' ? Math.trunc(value) : value;
}

const isInside = (value: ParamValue, { dtype, min, max }: Field): boolean =>
  (dtype !== 'int' && dtype !== 'float') || (Number(value) >= min && Number(value) <= max);

const number = (text: string | undefined): number | null => {
  const value = Number(text);
  return text === undefined || text.trim() === '' || !Number.isFinite(value) ? null : value;
};

/** A cost of 0 stands for none: then, as where there is none, it follows from what was measured. */
function fitnessOf(row: Row, slos: FitnessSettings): number | undefined {
  const kept = number(row['fitness']);
  if (kept !== null && kept !== 0) return kept;
  const performance = {
    generate_speed: number(row['generate_speed']),
    time_to_first_token: number(row['time_to_first_token']),
    time_per_output_token: number(row['time_per_output_token']),
    success_rate: number(row['success_rate']),
    throughput: number(row['throughput']),
  };
  try {
    return fitness(performance, slos).fitness;
  } catch {
    return undefined; // nothing was measured
  }
}

/** A row that measured the fields of this study, within their bounds. */
function measuredOf(row: Row, fields: readonly Field[], slos: FitnessSettings): Measured[] {
  const cost = fitnessOf(row, slos);
  if (cost === undefined) return [];
  const pairs = fields.map((field) => [field, valueOf(row[field.name], field)] as const);
  const open = pairs.filter(([field]) => !isConstant(field));
  if (open.some(([field, value]) => value === undefined || !isInside(value, field))) return [];
  const params = pairs.flatMap(([{ name }, value]) => (value === undefined ? [] : [[name, value] as const]));
  return [{ params: Object.fromEntries(params), fitness: cost }];
}

/** What one table says, or all of a directory. @throws ConfigurationError */
export const tableHistory = (path: string, fields: readonly Field[], slos: FitnessSettings): Measured[] =>
  statSync(path).isDirectory()
    ? readHistory(path, fields, slos)
    : rowsOf(path).flatMap((row) => measuredOf(row, fields, slos));

/** What the tables of a store say about these fields, oldest first. @throws ConfigurationError */
export function readHistory(storeDir: string, fields: readonly Field[], slos: FitnessSettings): Measured[] {
  return tables(storeDir).flatMap((file) => rowsOf(file).flatMap((row) => measuredOf(row, fields, slos)));
}
