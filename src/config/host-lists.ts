import { readFileSync } from 'node:fs';
import { ConfigValidationError, ConfigurationError } from '../base/errors.ts';
import { InvalidConfiguration, type ConfigProblem } from './problems.ts';

/** The hosts of one service group, master first. */
export interface HostGroup {
  readonly groupId: number;
  readonly hosts: readonly string[];
}

export interface HostGroups {
  readonly groups: readonly HostGroup[];
  readonly warnings: readonly string[];
}

const hostPattern = /^[^\s,;#@/\\'"[\]{}()<>|&$`!*?]+$/;

/** What is wrong with a host name, or undefined. */
function hostProblem(host: string): string | undefined {
  if (/^[^:]+:\d+$/.test(host)) {
    return `a host name: '${host}' could be a port or a count; give the port with --ssh-port or ssh_port`;
  }
  if (host.includes('@')) return 'a host name alone: give the user with --user or username';
  if (/^\[[0-9a-f:.%]+\]$/i.test(host)) return undefined;
  return hostPattern.test(host) ? undefined : 'a host name or address, one a line';
}

function refuseDuplicates(hosts: readonly { host: string; at: string }[], source: string): void {
  const first = new Map<string, string>();
  const problems: ConfigProblem[] = [];
  for (const { host, at } of hosts) {
    const earlier = first.get(host);
    if (earlier === undefined) first.set(host, at);
    else problems.push({ source, at, value: host, expected: `each host once: it is also at ${earlier}` });
  }
  if (problems.length > 0) throw new InvalidConfiguration(problems);
}

/**
 * One host a line; empty lines and what follows `#` do not count. Groups of `nodesPerGroup` in order, ids from 0.
 */
export function parseHostfile(text: string, nodesPerGroup: number, source = 'hostfile'): HostGroups {
  if (!Number.isInteger(nodesPerGroup) || nodesPerGroup < 1) {
    throw new ConfigValidationError('nodes_per_group', nodesPerGroup, 'nodes_per_group must be at least 1');
  }
  const problems: ConfigProblem[] = [];
  const hosts: { host: string; at: string }[] = [];
  text
    .replace(/^\uFEFF/, '')
    .split(/\r\n|\r|\n/)
    .forEach((line, index) => {
      const host = line.replace(/(^|\s)#.*$/, '').trim();
      if (host === '') return;
      const at = `line ${index + 1}`;
      const expected = hostProblem(host);
      if (expected === undefined) hosts.push({ host, at });
      else problems.push({ source, at, value: host, expected });
    });
  if (problems.length > 0) throw new InvalidConfiguration(problems);
  refuseDuplicates(hosts, source);
  if (hosts.length < nodesPerGroup) {
    throw new ConfigurationError(
      `Not enough hosts (${hosts.length}) for ${nodesPerGroup} nodes per group`,
      {},
      { remedy: `Add hosts to ${source} or lower --nodes-per-group.` },
    );
  }
  const names = hosts.map(({ host }) => host);
  const whole = Math.floor(names.length / nodesPerGroup);
  const groups = Array.from({ length: whole }, (_, groupId) => ({
    groupId,
    hosts: names.slice(groupId * nodesPerGroup, (groupId + 1) * nodesPerGroup),
  }));
  const left = names.slice(whole * nodesPerGroup);
  const warnings =
    left.length === 0
      ? []
      : [`${left.join(', ')}: left out, ${left.length} of ${nodesPerGroup} nodes do not fill a group`];
  return { groups, warnings };
}

export function readHostfile(path: string, nodesPerGroup: number): HostGroups {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new ConfigurationError(
      `Cannot read the hostfile ${path}: ${(cause as Error).message}`,
      {},
      { cause, remedy: 'Check the path given with --hostfile; hostfile.example shows the format.' },
    );
  }
  return parseHostfile(text, nodesPerGroup, path);
}

/** `n0,n1:n2,n3`: groups between colons. An empty part uses up its id. */
export function parseNodeString(text: string): HostGroups {
  const source = '--node-string';
  const problems: ConfigProblem[] = [];
  const warnings: string[] = [];
  const all: { host: string; at: string }[] = [];
  const groups: HostGroup[] = [];
  text.split(':').forEach((part, groupId) => {
    const at = `group ${groupId}`;
    const hosts = part
      .split(',')
      .map((host) => host.trim())
      .filter((host) => host !== '');
    if (hosts.length === 0) {
      warnings.push(`${source}: group ${groupId} is empty; its number stays unused`);
      return;
    }
    for (const host of hosts) {
      const expected = hostProblem(host);
      if (expected === undefined) all.push({ host, at });
      else problems.push({ source, at, value: host, expected });
    }
    groups.push({ groupId, hosts });
  });
  if (problems.length > 0) throw new InvalidConfiguration(problems);
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
  refuseDuplicates(all, source);
  return { groups, warnings };
}
