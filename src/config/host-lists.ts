import { readFileSync } from 'node:fs';
import { ConfigValidationError, ConfigurationError } from '../base/errors.ts';
import { selectHosts, type HostSelection } from './host-selection.ts';
import { colonParts, parseHosts, type HostEntry } from './host-syntax.ts';
import { InvalidConfiguration, type ConfigProblem } from './problems.ts';

/** The hosts of one service group, master first. */
export interface HostGroup {
  readonly groupId: number;
  readonly hosts: readonly HostEntry[];
}

export interface HostGroups {
  readonly groups: readonly HostGroup[];
  readonly warnings: readonly string[];
  /** Those of an allocation of Slurm: a later one has others. */
  readonly isAllocated?: boolean;
}

/** A host with where it was written. */
interface Located {
  readonly entry: HostEntry;
  readonly at: string;
}

function refuseDuplicates(hosts: readonly Located[], source: string): void {
  const first = new Map<string, string>();
  const problems: ConfigProblem[] = [];
  for (const {
    entry: { host },
    at,
  } of hosts) {
    const earlier = first.get(host);
    if (earlier === undefined) first.set(host, at);
    else problems.push({ source, at, value: host, expected: `each host once: it is also at ${earlier}` });
  }
  if (problems.length > 0) throw new InvalidConfiguration(problems);
}

/** All hosts of a text, whose parts are located; the first thing wrong with each is told. */
function readAll(
  parts: readonly { readonly text: string; readonly at: string; readonly offset: number }[],
  source: string,
): Located[][] {
  const problems: ConfigProblem[] = [];
  const found = parts.map(({ text, at, offset }) => {
    const { hosts, problems: wrong } = parseHosts(text, offset);
    problems.push(
      ...wrong.map(({ column, value, expected }) => ({
        ...{ source, value, expected },
        at: `${at}, column ${column}`,
      })),
    );
    return hosts.map(({ column, ...entry }) => ({ entry, at: `${at}, column ${column}` }));
  });
  if (problems.length > 0) throw new InvalidConfiguration(problems);
  refuseDuplicates(found.flat(), source);
  return found;
}

const selected = (hosts: readonly Located[], selection: HostSelection): HostEntry[] =>
  selectHosts(
    hosts.map(({ entry }) => entry),
    selection,
  );

/**
 * Hosts between blanks, commas and line ends; empty lines and what follows `#` do not count. Groups of `nodesPerGroup`
 * in order, ids from 0.
 */
export function parseHostfile(
  text: string,
  nodesPerGroup: number,
  source = 'hostfile',
  selection: HostSelection = {},
): HostGroups {
  if (!Number.isInteger(nodesPerGroup) || nodesPerGroup < 1) {
    throw new ConfigValidationError('nodes_per_group', nodesPerGroup, 'nodes_per_group must be at least 1');
  }
  const lines = text
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\r|\n/)
    .map((line, index) => ({
      text: line.replace(/(^|\s)#.*$/, ''),
      at: `line ${index + 1}`,
      offset: 0,
    }));
  const hosts = selected(readAll(lines, source).flat(), selection);
  if (hosts.length < nodesPerGroup) {
    throw new ConfigurationError(
      `Not enough hosts (${hosts.length}) for ${nodesPerGroup} nodes per group`,
      {},
      { remedy: `Add hosts to ${source} or lower --nodes-per-group.` },
    );
  }
  return grouped(hosts, nodesPerGroup);
}

function grouped(hosts: readonly HostEntry[], nodesPerGroup: number): HostGroups {
  const whole = Math.floor(hosts.length / nodesPerGroup);
  const groups = Array.from({ length: whole }, (_, groupId) => ({
    groupId,
    hosts: hosts.slice(groupId * nodesPerGroup, (groupId + 1) * nodesPerGroup),
  }));
  const left = hosts.slice(whole * nodesPerGroup).map(({ host }) => host);
  const warnings =
    left.length === 0
      ? []
      : [`${left.join(', ')}: left out, ${left.length} of ${nodesPerGroup} nodes do not fill a group`];
  return { groups, warnings };
}

/** `-` is standard input. */
export function readHostfile(path: string, nodesPerGroup: number, selection: HostSelection = {}): HostGroups {
  let text: string;
  try {
    text = readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (cause) {
    throw new ConfigurationError(
      `Cannot read the hostfile ${path}: ${(cause as Error).message}`,
      {},
      { cause, remedy: 'Check the path given with --hostfile; hostfile.example shows the format.' },
    );
  }
  return parseHostfile(text, nodesPerGroup, path === '-' ? 'standard input' : path, selection);
}

/** What Slurm says of the allocation that we are in, `SLURM_JOB_NODELIST`; undefined outside of one. */
export function hostsOfAllocation(
  env: Readonly<Record<string, string | undefined>>,
  nodesPerGroup: number,
  selection: HostSelection = {},
): HostGroups | undefined {
  const list = env['SLURM_JOB_NODELIST'] ?? env['SLURM_NODELIST'];
  if (list === undefined || list === '') return undefined;
  const { groups, warnings } = parseHostfile(list, nodesPerGroup, 'SLURM_JOB_NODELIST', selection);
  // `--gpus-per-node=a100:4` has a kind in it.
  const devices = Number(env['SLURM_GPUS_ON_NODE'] ?? env['SLURM_GPUS_PER_NODE']?.replace(/^.*:/, ''));
  const counted = (entry: HostEntry): HostEntry =>
    devices > 0 && Number.isInteger(devices) ? { slots: devices, ...entry } : entry;
  return {
    groups: groups.map(({ groupId, hosts }) => ({ groupId, hosts: hosts.map(counted) })),
    isAllocated: true,
    warnings: [
      `hosts of Slurm's allocation ${env['SLURM_JOB_ID'] ?? ''}: ${list}`.replace(' :', ':'),
      ...warnings,
    ],
  };
}

/** `n0,n1:n2,n3`: groups between colons. An empty part uses up its id. */
export function parseNodeString(text: string, selection: HostSelection = {}): HostGroups {
  const source = '--node-string';
  const parts = colonParts(text).map(({ text: part, at }, groupId) => ({
    text: part,
    at: `group ${groupId}`,
    offset: at,
  }));
  const problems = parts
    .filter(({ text: part }) => /^\d+(,|$)/.test(part.trim()))
    .map(({ text: part, at, offset }) => ({
      source,
      at: `${at}, column ${offset + 1}`,
      value: part,
      expected: `a host: colons go between groups; a port is 'host port=${part}', a number of devices 'host slots=${part}'`,
    }));
  if (problems.length > 0) throw new InvalidConfiguration(problems);
  const found = readAll(parts, source);
  const all = selected(found.flat(), selection);
  const warnings: string[] = [];
  const groups = found.flatMap((located, groupId): HostGroup[] => {
    const names = located.map(({ entry }) => entry.host);
    const hosts = all.filter(({ host }) => names.includes(host));
    if (names.length === 0) warnings.push(`${source}: group ${groupId} is empty; its number stays unused`);
    return hosts.length === 0 ? [] : [{ groupId, hosts }];
  });
  if (groups.length === 0) {
    throw new ConfigurationError(
      'service_groups cannot be empty when parallel is enabled',
      {},
      {
        remedy:
          'Write the hosts as --node-string "n0,n1:n2,n3": commas within a group, colons between groups.',
      },
    );
  }
  return { groups, warnings };
}
