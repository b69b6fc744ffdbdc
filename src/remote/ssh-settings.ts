import { existsSync, readFileSync } from 'node:fs';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import SSHConfig from 'ssh-config';
import { ConfigurationError } from '../base/errors.ts';
import type { NodeConfig } from '../config/parallel-config.ts';

/** How a node is reached: its configuration, completed from ~/.ssh/config. */
export interface SshSettings {
  /** As the user calls it. */
  readonly host: string;
  /** What is connected to. */
  readonly address: string;
  readonly port: number;
  readonly user: string;
  readonly identityFiles: readonly string[];
  /** The user asked for this key: no other one is tried. */
  readonly identitiesOnly: boolean;
  readonly agent: string | undefined;
  readonly knownHostsFiles: readonly string[];
}

export function expandHome(path: string, home = homedir()): string {
  return path === '~' ? home : path.startsWith('~/') ? join(home, path.slice(2)) : path;
}

function first(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

function hostOptions(host: string, home: string): Readonly<Record<string, string | string[]>> {
  const file = join(home, '.ssh', 'config');
  if (!existsSync(file)) return {};
  try {
    return SSHConfig.parse(readFileSync(file, 'utf8')).compute(host, { ignoreCase: true });
  } catch (cause) {
    throw new ConfigurationError(`Cannot read ${file}: ${(cause as Error).message}`, {}, { cause });
  }
}

/** @throws ConfigurationError where a key was named that is not there */
function namedIdentity(file: string | undefined, home: string): string | undefined {
  if (file === undefined) return undefined;
  const path = expandHome(file, home);
  if (existsSync(path)) return path;
  throw new ConfigurationError(
    `The identity file ${path} does not exist`,
    {},
    { remedy: 'Check -i/--identity or identity_file.' },
  );
}

/** Those of ~/.ssh/config, else the usual ones, as far as they are there. */
function defaultIdentities(listed: readonly string[], home: string): string[] {
  const usual = ['id_ed25519', 'id_ecdsa', 'id_rsa'].map((name) => join(home, '.ssh', name));
  return (listed.length > 0 ? listed : usual).filter((file) => existsSync(file));
}

/** The node's own keys win over ~/.ssh/config (`HostName`, `User`, `Port`, `IdentityFile`), which wins over defaults. */
export function sshSettings(
  node: Pick<NodeConfig, 'host' | 'ssh_port' | 'username' | 'identity_file' | 'known_hosts_file'>,
  home = homedir(),
  env: Readonly<Record<string, string | undefined>> = process.env,
): SshSettings {
  const options = hostOptions(node.host, home);
  const option = (name: string): string | string[] | undefined =>
    options[name.toLowerCase()] ?? options[name];
  const user = node.username ?? first(option('User')) ?? userInfo().username;
  const expand = (path: string): string =>
    expandHome(path, home).replaceAll('%d', home).replaceAll('%h', node.host).replaceAll('%r', user);
  const listed = [option('IdentityFile') ?? []].flat().map(expand);
  const named = namedIdentity(node.identity_file, home);
  return {
    host: node.host,
    address: (first(option('HostName')) ?? node.host).replaceAll('%h', node.host),
    port: node.ssh_port ?? Number(first(option('Port')) ?? 22),
    user,
    identityFiles: named === undefined ? defaultIdentities(listed, home) : [named],
    identitiesOnly: named !== undefined,
    agent: env['SSH_AUTH_SOCK'] === '' ? undefined : env['SSH_AUTH_SOCK'],
    knownHostsFiles:
      node.known_hosts_file === undefined
        ? [join(home, '.ssh', 'known_hosts'), join(home, '.ssh', 'known_hosts2'), '/etc/ssh/ssh_known_hosts']
        : [expandHome(node.known_hosts_file, home)],
  };
}
