import { existsSync } from 'node:fs';
import { homedir, hostname, userInfo } from 'node:os';
import { join } from 'node:path';
import { ConfigurationError } from '../base/errors.ts';
import type { NodeConfig } from '../config/parallel-config.ts';
import { sshOptionsOf, type SshOptionValues } from './ssh-config-file.ts';

/** How a node is reached: its configuration, completed from ssh_config. */
export interface SshSettings {
  /** As the user calls it. */
  readonly host: string;
  /** What is connected to. */
  readonly address: string;
  readonly port: number;
  readonly user: string;
  readonly identityFiles: readonly string[];
  /** `-i` or `identity_file`: it must be usable. */
  readonly isNamed: boolean;
  /** No other keys are tried, of those that an agent has either. */
  readonly identitiesOnly: boolean;
  readonly agent: string | undefined;
  readonly knownHostsFiles: readonly string[];
  /** The name that its host key is known by, where that is another one. */
  readonly hostKeyAlias: string | undefined;
  /** ssh_config lets an unknown host key be learned. */
  readonly learnsHostKeys: boolean;
  /** Certificates of the user, which are not understood. */
  readonly certificates: readonly string[];
  /** The jump host, with its own way to it. */
  readonly via: SshSettings | undefined;
  /** A command whose input and output are the connection. */
  readonly proxyCommand: string | undefined;
}

export type SshNode = Pick<
  NodeConfig,
  'host' | 'ssh_port' | 'username' | 'identity_file' | 'known_hosts_file' | 'ssh_config'
>;

interface Surroundings {
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Jump hosts in a row; a longer one is a ring. */
const mostHops = 8;

export function expandHome(path: string, home = homedir()): string {
  return path === '~' ? home : path.startsWith('~/') ? join(home, path.slice(2)) : path;
}

function first(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

/** Words of a directive that takes several on a line. */
const all = (value: string | readonly string[] | undefined): string[] =>
  [value ?? []]
    .flat()
    .flatMap((one) => one.match(/"[^"]*"|\S+/g) ?? [])
    .map((one) => one.replaceAll('"', ''));

/** @throws ConfigurationError where a file was named that is not there */
function named(file: string | undefined, what: string, remedy: string, home: string): string | undefined {
  if (file === undefined) return undefined;
  const path = expandHome(file, home);
  if (existsSync(path)) return path;
  throw new ConfigurationError(`The ${what} ${path} does not exist`, {}, { remedy });
}

/** Those of ssh_config, else the usual ones, as far as they are there. */
function defaultIdentities(listed: readonly string[], home: string): string[] {
  const usual = ['id_ed25519', 'id_ecdsa', 'id_rsa'].map((name) => join(home, '.ssh', name));
  return (listed.length > 0 ? listed : usual).filter((file) => existsSync(file));
}

/** `IdentityAgent`: a socket, `none`, or a variable that has it. */
function agentOf(
  said: string | undefined,
  expand: (path: string) => string,
  env: Surroundings['env'],
): string | undefined {
  if (said === 'none') return undefined;
  const usual = env['SSH_AUTH_SOCK'];
  const socket =
    said === undefined || said === 'SSH_AUTH_SOCK'
      ? usual
      : said.startsWith('$')
        ? env[said.replace(/^\$\{?(\w+)\}?$/, '$1')]
        : expand(said);
  return socket === '' ? undefined : socket;
}

/** A yes or a choice, in small letters. */
const word = (options: SshOptionValues, name: string): string => first(options[name])?.toLowerCase() ?? '';

const usualKnownHosts = (home: string): string[] => [
  join(home, '.ssh', 'known_hosts'),
  join(home, '.ssh', 'known_hosts2'),
];

function hostKeysOf(
  node: SshNode,
  options: SshOptionValues,
  expand: (path: string) => string,
  home: string,
): Pick<SshSettings, 'knownHostsFiles' | 'hostKeyAlias' | 'learnsHostKeys'> {
  const own = all(options['userknownhostsfile']).map(expand);
  const shared = all(options['globalknownhostsfile']).map(expand);
  const usual = [
    ...(own.length > 0 ? own.filter((file) => file !== 'none') : usualKnownHosts(home)),
    ...(shared.length > 0 ? shared : ['/etc/ssh/ssh_known_hosts']),
  ];
  const { known_hosts_file: file } = node;
  return {
    knownHostsFiles: file === undefined ? usual : [expandHome(file, home)],
    hostKeyAlias: first(options['hostkeyalias']),
    learnsHostKeys: ['no', 'off', 'accept-new'].includes(word(options, 'stricthostkeychecking')),
  };
}

function keysOf(
  node: SshNode,
  options: SshOptionValues,
  expand: (path: string) => string,
  { home, env }: Surroundings,
): Pick<SshSettings, 'identityFiles' | 'isNamed' | 'identitiesOnly' | 'agent' | 'certificates'> {
  const key = named(node.identity_file, 'identity file', 'Check -i/--identity or identity_file.', home);
  const listed = [options['identityfile'] ?? []].flat().map(expand);
  return {
    identityFiles: key === undefined ? defaultIdentities(listed, home) : [key],
    isNamed: key !== undefined,
    identitiesOnly: key !== undefined || word(options, 'identitiesonly') === 'yes',
    agent: agentOf(first(options['identityagent']), expand, env),
    certificates: [options['certificatefile'] ?? []].flat().map(expand),
  };
}

/** The last of `a,me@b:2222`, which is reached through those before it; IPv6 is in brackets. */
function hopOf(text: string): { host: string; user?: string; port?: number; before: string | undefined } {
  const parts = text.replace(/^ssh:\/\//, '').split(',');
  const [, user, bare = ''] = /^(?:(.*)@)?(.*)$/.exec(parts.at(-1)?.trim() ?? '') ?? [];
  const [, v6, name, port] = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(bare) ?? [];
  const before = parts.slice(0, -1).join(',');
  return {
    host: v6 ?? name ?? bare,
    ...(user === undefined ? {} : { user }),
    ...(port === undefined ? {} : { port: Number(port) }),
    before: before === '' ? undefined : before,
  };
}

function jumpOf(
  node: SshNode,
  said: string | undefined,
  around: Surroundings,
  depth: number,
): SshSettings | undefined {
  if (said === undefined || said.toLowerCase() === 'none') return undefined;
  if (depth > mostHops) {
    throw new ConfigurationError(
      `The jump hosts of ${node.host} go round in a ring: ${said}`,
      {},
      { remedy: 'Check ProxyJump in ~/.ssh/config; `ProxyJump none` ends it for a host.' },
    );
  }
  const { host, user, port, before } = hopOf(said);
  // `Host *` with a jump host means all but the jump host.
  if (host === node.host) return undefined;
  const hop: SshNode = {
    host,
    ssh_port: port,
    username: user,
    identity_file: undefined,
    known_hosts_file: node.known_hosts_file,
    ssh_config: node.ssh_config,
  };
  const settings = resolve(hop, around, before, depth + 1);
  if (node.identity_file === undefined) return settings;
  // Who names a key for the nodes has it for the way to them as well.
  const key = expandHome(node.identity_file, around.home);
  return { ...settings, identityFiles: [key, ...settings.identityFiles.filter((file) => file !== key)] };
}

/** They get into commands of ssh_config (`ProxyCommand`, `Match exec`), as with OpenSSH, which refuses the same. */
function refuseShellWords(what: string, word: string | undefined): void {
  if (word === undefined || /^(?!-)[^\s'"`$\\;&<>|(){}*?!#~]+$/.test(word)) return;
  throw new ConfigurationError(
    `${JSON.stringify(word)} is no ${what}`,
    {},
    {
      remedy: `Write the ${what} without blanks and characters of the shell, or give it a Host in ~/.ssh/config.`,
    },
  );
}

/** `hops`: ways that were named, in place of those of ssh_config. */
function resolve(node: SshNode, around: Surroundings, hops?: string, depth = 0): SshSettings {
  const { home } = around;
  refuseShellWords('host name', node.host);
  refuseShellWords('user name', node.username);
  const config = named(node.ssh_config, 'ssh_config', 'Check -F/--ssh-config or ssh_config.', home);
  const options = sshOptionsOf(node.host, config, home);
  const me = userInfo();
  const user = node.username ?? first(options['user']) ?? me.username;
  const address = (first(options['hostname']) ?? node.host).replaceAll('%h', node.host);
  const port = node.ssh_port ?? Number(first(options['port']) ?? 22);
  const tokens: Readonly<Record<string, string>> = {
    ...{ '%%': '%', '%d': home, '%h': address, '%n': node.host, '%r': user, '%p': String(port) },
    ...{ '%u': me.username, '%l': hostname(), '%i': String(me.uid) },
  };
  const withTokens = (text: string): string => text.replace(/%./g, (token) => tokens[token] ?? token);
  const expand = (path: string): string => withTokens(expandHome(path, home));
  const jump = hops ?? first(options['proxyjump']);
  const command = jump === undefined ? withTokens(first(options['proxycommand']) ?? '') : '';
  return {
    host: node.host,
    ...{ address, port, user },
    ...keysOf(node, options, expand, around),
    ...hostKeysOf(node, options, expand, home),
    via: jumpOf(node, jump, around, depth),
    proxyCommand: command === '' || command.toLowerCase() === 'none' ? undefined : command,
  };
}

/**
 * The node's own keys win over ssh_config, which wins over defaults.
 * @throws ConfigurationError for a file that was named and is not there, and for one that cannot be read
 */
export function sshSettings(
  node: SshNode,
  home = homedir(),
  env: Readonly<Record<string, string | undefined>> = process.env,
): SshSettings {
  return resolve(node, { home, env });
}
