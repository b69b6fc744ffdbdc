import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { registry } from '../compose.ts';
import { ConfigurationError } from '../base/errors.ts';
import { hostsOfAllocation, parseNodeString, readHostfile, type HostGroups } from '../config/host-lists.ts';
import {
  resolveSettings,
  type HostfilePlace,
  type Settings,
  type SettingsInput,
} from '../config/settings.ts';
import { knownKeys } from '../config/validate.ts';
import { readConfig, type ConfigDocument } from '../config/sources.ts';
import { usesSlurm } from '../config/parallel-settings.ts';
import { isTable } from '../config/toml.ts';
import { absolutePath, knowOwn } from '../own.ts';
import { simulatedStudy } from './demo-study.ts';
import type { CliOptions } from './options.ts';

type HostFlags = Pick<
  CliOptions,
  'hostfile' | 'nodeString' | 'nodesPerGroup' | 'include' | 'exclude' | 'parallel' | 'launcher' | 'slurm'
>;

/** Standard input is read once. */
const hostfileOf = ({ hostfile, nodesPerGroup, include, exclude }: HostFlags): HostfilePlace | undefined =>
  hostfile === undefined || hostfile === '-'
    ? undefined
    : { path: resolve(hostfile), nodesPerGroup, include, exclude };

/** The hosts of flags; with --parallel and none of them, and none in the configuration, those of Slurm's allocation. */
export function hostsOf(
  options: HostFlags,
  { hasGroups, isAsked }: { readonly hasGroups: boolean; readonly isAsked: boolean },
  slurm: Readonly<Record<string, string | undefined>>,
): HostGroups | undefined {
  const { hostfile, nodeString, nodesPerGroup, include, exclude } = options;
  const selection = { include, exclude };
  if (hostfile !== undefined) return readHostfile(hostfile, nodesPerGroup, selection);
  if (nodeString !== undefined) return parseNodeString(nodeString, selection);
  const allocated = isAsked && !hasGroups ? hostsOfAllocation(slurm, nodesPerGroup, selection) : undefined;
  if (allocated === undefined && (include ?? exclude) !== undefined) {
    throw new ConfigurationError(
      '--include and --exclude choose from the hosts of --hostfile or --node-string',
      {},
      { remedy: 'Give one of these, or name the devices with npu_ids in the configuration.' },
    );
  }
  return allocated;
}

/** Whether the configuration has groups, and whether somebody asks for some where it has none. */
function wishes(
  { values }: ConfigDocument,
  options: HostFlags,
): { readonly hasGroups: boolean; readonly isAsked: boolean } {
  const { parallel } = values;
  const table = isTable(parallel) ? parallel : {};
  const { service_groups: groups, enabled } = table;
  return {
    hasGroups: Array.isArray(groups) && groups.length > 0,
    isAsked: options.parallel === true || enabled === true || usesSlurm(table, options),
  };
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
async function loadOwn(
  { values }: ConfigDocument,
  { engine, benchmarkPolicy }: Pick<CliOptions, 'engine' | 'benchmarkPolicy'>,
): Promise<void> {
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  const { engine: named, benchmark } = values;
  await knowOwn({ engine: engine ?? text(named), benchmark: benchmarkPolicy ?? text(benchmark) });
}

/** With paths of modules that hold wherever the run is resumed. */
function withPaths(document: ConfigDocument): ConfigDocument {
  const { engine, benchmark, ...values } = document.values;
  const named = Object.entries({ engine, benchmark }).filter(([, value]) => value !== undefined);
  const paths = named.map(([key, value]) => [key, absolutePath(value)] as const);
  return { ...document, values: { ...values, ...Object.fromEntries(paths) } };
}

/** Settings from files, environment and flags; `slurm`: what Slurm tells of an allocation. @throws ConfigurationError */
export async function loadSettings(
  options: CliOptions,
  slurm: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Loaded> {
  const surroundings = { cwd: process.cwd(), home: homedir(), env: process.env };
  const document = withPaths(studied(readConfig(options.config, knownKeys(registry), surroundings), options));
  const engine = absolutePath(options.engine);
  const benchmarkPolicy = absolutePath(options.benchmarkPolicy);
  await loadOwn(document, { engine, benchmarkPolicy });
  const { parallel, npusPerNode, seed, output } = options;
  const { identity, user, sshPort, sshConfig, acceptNewHostKeys, backup, pd, simulate } = options;
  const { launcher, slurm: slurmOptions, groupsPerNode } = options;
  const { slo, objective, maxEvaluations, budget } = options;
  const flags = {
    ...{ engine, benchmarkPolicy, parallel, npusPerNode, seed, output },
    ...{ identity, user, sshPort, sshConfig, acceptNewHostKeys, backup, pd, simulate, slo, objective },
    ...{ maxEvaluations, budget, launcher, slurm: slurmOptions, groupsPerNode },
  };
  const input: SettingsInput = {
    ...{ document, flags, slurmJob: slurm['SLURM_JOB_ID'], hostfile: hostfileOf(options) },
    hosts: hostsOf(options, wishes(document, options), slurm),
  };
  return { input, settings: resolveSettings(input, registry) };
}
