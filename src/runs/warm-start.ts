import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigurationError } from '../base/errors.ts';
import type { Settings } from '../config/settings.ts';
import { setupOf } from '../config/setup.ts';
import { partsOf } from '../core/fitness/composition.ts';
import { fitness, type FitnessSettings } from '../core/fitness/fitness.ts';
import type { Measured } from '../core/pso/optimizer.ts';
import { isTable } from '../config/toml.ts';
import { enumValues, isConstant, type Field, type ServingParams } from '../core/space/field.ts';
import { isScored, judgedOf, type ScoredRecord } from '../parallel/records.ts';
import { tableHistory } from './history.ts';
import { readJournal } from './journal-content.ts';

/** What an earlier study, or somebody who knows, gives a new one to begin with. */
export interface WarmStart {
  /** Configurations to try first, the best one first. */
  readonly seeds: readonly ServingParams[];
  /** Results that count as measured: those of the same setup. */
  readonly history: readonly Measured[];
  readonly note: string;
}

/** So many of the best are tried again. */
const mostSeeds = 3;

function refuse(from: string, why: string): never {
  const remedy =
    'Give a run id of --output, a run directory, a data_storage CSV of the original, or a JSON list of configurations.';
  throw new ConfigurationError(`--from ${from}: ${why}`, {}, { remedy });
}

/** As far as this study searches its parameters; undefined where a value is outside of it. */
function fitting(params: ServingParams, fields: readonly Field[]): ServingParams | undefined {
  const open = fields.filter((field) => !isConstant(field) && params[field.name] !== undefined);
  const isInside = (field: Field): boolean => {
    const { name, dtype, min, max } = field;
    const value = params[name];
    if (dtype === 'enum') return enumValues(field).some((one) => String(one) === String(value));
    if (dtype === 'bool') return typeof value === 'boolean';
    return (dtype !== 'int' && dtype !== 'float') || (Number(value) >= min && Number(value) <= max);
  };
  if (open.length === 0 || !open.every(isInside)) return undefined;
  return Object.fromEntries(open.map(({ name }) => [name, params[name] as ServingParams[string]]));
}

function costOf({ verdict }: ScoredRecord, slos: FitnessSettings): Omit<Measured, 'params'> | undefined {
  const judged = judgedOf(verdict);
  try {
    const { fitness: cost, terms } = fitness(judged, slos);
    return { fitness: cost, parts: partsOf(judged, terms, slos) };
  } catch {
    return undefined; // it lacks what is judged now
  }
}

async function ofRun(journal: string, from: string, settings: Settings): Promise<WarmStart> {
  const { entries } = await readJournal(journal);
  const started = entries.find((entry) => entry.type === 'run-started');
  if (started === undefined) return refuse(from, 'it never began');
  const records = entries
    .flatMap((entry) => (entry.type === 'told' ? [entry.record] : []))
    .filter(isScored)
    .filter(
      ({ confirms, reused_from, verdict }) =>
        confirms === null && reused_from === null && verdict.censored !== true,
    );
  const measured = records.flatMap((record) => {
    const params = fitting(record.params, settings.space.fields);
    const cost = costOf(record, settings.fitness);
    return params === undefined || cost === undefined ? [] : [{ params, ...cost }];
  });
  // Costs of MindIE aim at ten times a baseline that is not measured yet.
  const isSame = started.setup === setupOf(settings) && settings.engine !== 'mindie';
  return startOf(measured, isSame, `run ${started.run_id}`, isSame ? '' : ': its setup was another one');
}

function startOf(measured: readonly Measured[], isSame: boolean, what: string, why: string): WarmStart {
  const best = [...measured].sort((a, b) => a.fitness - b.fitness).slice(0, mostSeeds);
  const seeds = best.map(({ params }) => params);
  const results = isSame
    ? `${measured.length} results of ${what} count as measured`
    : `results of ${what} are not used${why}`;
  return {
    seeds,
    history: isSame ? measured : [],
    note: `beginning with ${seeds.length} configurations; ${results}`,
  };
}

function ofList(file: string, from: string, fields: readonly Field[]): WarmStart {
  let list: unknown;
  try {
    list = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    return refuse(from, (cause as Error).message);
  }
  if (!Array.isArray(list)) return refuse(from, 'it is no list');
  const seeds = (list as unknown[]).map((entry, index) => {
    if (!isTable(entry)) return refuse(from, `entry ${index} is no table of names and values`);
    const one = entry as ServingParams;
    const unknown = Object.keys(one).filter((name) => !fields.some((field) => field.name === name));
    if (unknown.length > 0)
      return refuse(from, `entry ${index} names ${unknown.join(', ')}, which this study does not know`);
    if (!fields.some((field) => field.name in one && !isConstant(field)))
      return refuse(
        from,
        `entry ${index} names no field that is searched (loads are searched on the running service)`,
      );
    return fitting(one, fields) ?? refuse(from, `entry ${index} has a value outside of the fields' bounds`);
  });
  return { seeds, history: [], note: `beginning with ${seeds.length} configurations of ${file}` };
}

/** @throws ConfigurationError that says what can be given */
export async function warmStart(from: string, settings: Settings): Promise<WarmStart> {
  const { fields } = settings.space;
  const places = [join(settings.output, 'runs', from, 'journal.jsonl'), join(from, 'journal.jsonl')];
  const journal = places.find((path) => existsSync(path)) ?? (from.endsWith('.jsonl') ? from : undefined);
  if (journal !== undefined && existsSync(journal)) return ofRun(journal, from, settings);
  if (!existsSync(from)) return refuse(from, 'there is no such run or file');
  if (from.endsWith('.json')) return ofList(from, from, fields);
  if (!from.endsWith('.csv') && !statSync(from).isDirectory()) return refuse(from, 'it is none of these');
  const rows = tableHistory(from, fields, settings.fitness);
  if (rows.length === 0) return refuse(from, 'no row of it fits the fields of this study');
  return startOf(rows, false, from, ': a table does not tell its setup');
}
