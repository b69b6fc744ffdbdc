import { homedir } from 'node:os';
import { registry } from '../compose.ts';
import { parseNodeString, readHostfile, type HostGroups } from '../config/host-lists.ts';
import { resolveSettings, type Settings, type SettingsInput } from '../config/settings.ts';
import { knownKeys } from '../config/validate.ts';
import { readConfig, type ConfigDocument } from '../config/sources.ts';
import { knowOwn } from '../own.ts';
import { simulatedStudy } from './demo-study.ts';
import type { CliOptions } from './options.ts';

function hostsOf(options: CliOptions): HostGroups | undefined {
  if (options.hostfile !== undefined) return readHostfile(options.hostfile, options.nodesPerGroup);
  return options.nodeString === undefined ? undefined : parseNodeString(options.nodeString);
}

export interface Loaded {
  readonly settings: Settings;
  readonly input: SettingsInput;
}

/** A simulation needs no configuration: without an engine to tune it takes one of its own. */
function studied(document: ConfigDocument, { simulate, engine }: CliOptions): ConfigDocument {
  const { values } = document;
  const tuned = engine ?? values['engine'] ?? registry.engines.find(({ name }) => values[name] !== undefined);
  return simulate !== true || tuned !== undefined
    ? document
    : { ...document, values: { ...simulatedStudy, ...values } };
}

/** Modules of the user that flags or files name. */
async function loadOwn(document: ConfigDocument, { engine, benchmarkPolicy }: CliOptions): Promise<void> {
  const { engine: named, benchmark } = document.values;
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  await knowOwn({ engine: engine ?? text(named), benchmark: benchmarkPolicy ?? text(benchmark) });
}

/** Settings from files, environment and flags. @throws ConfigurationError */
export async function loadSettings(options: CliOptions): Promise<Loaded> {
  const surroundings = { cwd: process.cwd(), home: homedir(), env: process.env };
  const document = studied(readConfig(options.config, knownKeys(registry), surroundings), options);
  await loadOwn(document, options);
  const { engine, benchmarkPolicy, parallel, npusPerNode, seed, output } = options;
  const { identity, user, sshPort, acceptNewHostKeys, backup, pd, simulate } = options;
  const flags = {
    ...{ engine, benchmarkPolicy, parallel, npusPerNode, seed, output },
    ...{ identity, user, sshPort, acceptNewHostKeys, backup, pd, simulate },
  };
  const input: SettingsInput = { document, flags, hosts: hostsOf(options) };
  return { input, settings: resolveSettings(input, registry) };
}
