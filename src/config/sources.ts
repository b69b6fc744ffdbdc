import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ConfigurationError } from '../base/errors.ts';
import { isTable, parseToml, type Table } from './toml.ts';

/** A merged configuration and where each top-level key comes from. */
export interface ConfigDocument {
  readonly values: Table;
  readonly origin: Readonly<Record<string, string>>;
  /** The files that were read, first to last. */
  readonly files: readonly string[];
}

export interface Surroundings {
  readonly cwd: string;
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const prefix = 'MODEL_EVAL_STATE_';

function readToml(file: string): Table {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new ConfigurationError(
      `Cannot read the configuration file ${file}: ${(cause as Error).message}`,
      {},
      { cause, remedy: 'Check the path given with -c/--config; config.example.toml is a start.' },
    );
  }
  return parseToml(file, text);
}

/** In the order of reading; a later file wins. */
function searchOrder({ cwd, home, env }: Surroundings): string[] {
  const named = env[`${prefix}CONFIG_PATH`] ?? env['model_eval_state_config_path'];
  const files = [
    join(home, 'model_eval_state.toml'),
    join(cwd, 'model_eval_state.toml'),
    join(home, 'config.toml'),
    join(cwd, 'config.toml'),
    ...(named === undefined || named === '' ? [] : [resolve(cwd, named)]),
  ];
  return files.filter((file, index) => files.lastIndexOf(file) === index);
}

function deepMerge(base: unknown, over: unknown): unknown {
  if (!isTable(base) || !isTable(over)) return over;
  const merged: Table = { ...base };
  for (const [key, value] of Object.entries(over)) merged[key] = deepMerge(base[key], value);
  return merged;
}

function environmentValue(raw: string): unknown {
  if (!/^\s*[[{]/.test(raw)) return raw;
  try {
    return JSON.parse(raw) as unknown;
  } catch {
    return raw; // the schema says what was expected in its place
  }
}

/**
 * Reads the configuration: `file` alone when given, else the original's search order, later files winning by whole
 * top-level keys; then `MODEL_EVAL_STATE_<KEY>` for the known keys, tables as JSON merged deeply.
 */
export function readConfig(
  file: string | undefined,
  knownKeys: readonly string[],
  surroundings: Surroundings,
): ConfigDocument {
  const { cwd, env } = surroundings;
  const files =
    file === undefined ? searchOrder(surroundings).filter((one) => existsSync(one)) : [resolve(cwd, file)];
  let values: Table = {};
  const origin: Record<string, string> = {};
  for (const one of files) {
    const table = readToml(one);
    values = { ...values, ...table };
    for (const key of Object.keys(table)) origin[key] = one;
  }
  const byUpperCase = new Map(
    Object.entries(env).map(([name, value]) => [name.toUpperCase(), { name, value }]),
  );
  for (const key of knownKeys) {
    const found = byUpperCase.get(`${prefix}${key.toUpperCase()}`);
    if (found?.value === undefined) continue;
    values[key] = deepMerge(values[key], environmentValue(found.value));
    origin[key] = `environment ${found.name}`;
  }
  return { values, origin, files };
}
