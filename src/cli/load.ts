import { homedir } from 'node:os';
import { registry } from '../compose.ts';
import { parseNodeString, readHostfile, type HostGroups } from '../config/host-lists.ts';
import { resolveSettings, type Settings, type SettingsInput } from '../config/settings.ts';
import { knownKeys } from '../config/validate.ts';
import { readConfig } from '../config/sources.ts';
import type { CliOptions } from './options.ts';

function hostsOf(options: CliOptions): HostGroups | undefined {
  if (options.hostfile !== undefined) return readHostfile(options.hostfile, options.nodesPerGroup);
  return options.nodeString === undefined ? undefined : parseNodeString(options.nodeString);
}

export interface Loaded {
  readonly settings: Settings;
  readonly input: SettingsInput;
}

/** Settings from files, environment and flags. @throws ConfigurationError */
export function loadSettings(options: CliOptions): Loaded {
  const surroundings = { cwd: process.cwd(), home: homedir(), env: process.env };
  const document = readConfig(options.config, knownKeys(registry), surroundings);
  const { engine, benchmarkPolicy, parallel, npusPerNode, seed, output } = options;
  const { identity, user, sshPort, acceptNewHostKeys, backup, pd } = options;
  const flags = {
    ...{ engine, benchmarkPolicy, parallel, npusPerNode, seed, output },
    ...{ identity, user, sshPort, acceptNewHostKeys, backup, pd },
  };
  const input: SettingsInput = { document, flags, hosts: hostsOf(options) };
  return { input, settings: resolveSettings(input, registry) };
}
