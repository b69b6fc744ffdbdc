import { homedir } from 'node:os';
import { registry } from '../compose.ts';
import { ConfigurationError } from '../base/errors.ts';
import { resolveSettings, type SettingsInput } from '../config/settings.ts';
import { knownKeys } from '../config/validate.ts';
import { readConfig } from '../config/sources.ts';
import { isTable } from '../config/toml.ts';
import { readSavedRun } from '../runs/catalog.ts';
import { knowOwn } from '../own.ts';
import type { Loaded } from './load.ts';

const hidden = '[redacted]';

/** Secrets are not kept with a run: they come from where they came from at first. */
function reveal(saved: unknown, present: unknown, path: string): unknown {
  if (saved === hidden) {
    if (typeof present === 'string') return present;
    throw new ConfigurationError(
      `The secret ${path} is not kept with the run`,
      {},
      {
        remedy: 'Run from where the configuration file or the environment variable with it is found.',
      },
    );
  }
  if (Array.isArray(saved)) {
    return saved.map((one, i) =>
      reveal(one, Array.isArray(present) ? (present as unknown[])[i] : undefined, `${path}[${i}]`),
    );
  }
  if (!isTable(saved)) return saved;
  const table = isTable(present) ? present : {};
  return Object.fromEntries(
    Object.entries(saved).map(([key, value]) => [
      key,
      reveal(value, table[key], path === '' ? key : `${path}.${key}`),
    ]),
  );
}

/** What the settings of an earlier run are made of. */
export async function loadSavedInput(output: string, runId: string): Promise<SettingsInput> {
  const { input: kept } = readSavedRun(output, runId);
  const [file] = kept.document.files.slice(-1);
  let values: unknown = kept.document.values;
  if (JSON.stringify(values).includes(hidden)) {
    const surroundings = { cwd: process.cwd(), home: homedir(), env: process.env };
    const present = readConfig(file, knownKeys(registry), surroundings);
    values = reveal(values, present.values, '');
  }
  const document = { ...kept.document, values: values as SettingsInput['document']['values'] };
  const input: SettingsInput = { ...kept, document, flags: { ...kept.flags, output } };
  const { engine, benchmark } = document.values as { engine?: string; benchmark?: string };
  const { flags } = kept;
  await knowOwn({ engine: flags.engine ?? engine, benchmark: flags.benchmarkPolicy ?? benchmark });
  return input;
}

/** The settings of an earlier run, as they were. */
export async function loadSavedSettings(output: string, runId: string): Promise<Loaded> {
  const input = await loadSavedInput(output, runId);
  return { input, settings: resolveSettings(input, registry) };
}
