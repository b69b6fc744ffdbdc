import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import SSHConfig from 'ssh-config';
import { ConfigurationError } from '../base/errors.ts';
import { matchesGlob } from './known-hosts.ts';

/** Values of the directives that hold for a host, by their names in small letters. */
export type SshOptionValues = Readonly<Record<string, string | string[] | undefined>>;

const deepest = 16;

/** Files that an Include names: relative to `folder`, `~` of the user, wildcards in the last part. */
function included(pattern: string, folder: string, home: string): string[] {
  const path = pattern.startsWith('~/') ? join(home, pattern.slice(2)) : pattern;
  const full = isAbsolute(path) ? path : join(folder, path);
  const [parent, name] = [dirname(full), basename(full)];
  if (!/[*?]/.test(name)) return existsSync(full) ? [full] : [];
  if (!existsSync(parent)) return [];
  const names = readdirSync(parent).filter((one) => matchesGlob(name, one));
  return names.sort().map((one) => join(parent, one));
}

/**
 * A file with what it includes in its place. The header of the section around an Include is repeated after it: what
 * follows belongs to that section, whatever the included file began.
 */
function flattened(file: string, folder: string, home: string, depth = 0): string[] {
  if (depth > deepest) {
    const remedy = 'A file that includes itself is read for ever: take the Include out.';
    throw new ConfigurationError(`${file}: Include goes deeper than ${deepest} files`, {}, { remedy });
  }
  let section: string | undefined;
  return readFileSync(file, 'utf8')
    .split(/\r?\n/)
    .flatMap((line): string[] => {
      if (/^\s*(host|match)[\s=]/i.test(line)) section = line;
      const patterns = /^\s*include(?:\s+|\s*=\s*)(.+)$/i.exec(line)?.[1];
      if (patterns === undefined) return [line];
      const words = patterns.match(/"[^"]*"|\S+/g) ?? [];
      const files = words.flatMap((word) => included(word.replaceAll('"', ''), folder, home));
      const inside = files.flatMap((one) => flattened(one, folder, home, depth + 1));
      return [...inside, ...(section === undefined ? [] : [section])];
    });
}

const parsed = new Map<string, SSHConfig>();

/** The user's file and the machine's, or the named one alone, as OpenSSH reads them; read once. */
function configOf(named: string | undefined, home: string): SSHConfig {
  const key = named ?? home;
  const known = parsed.get(key);
  if (known !== undefined) return known;
  const user = join(home, '.ssh');
  const places =
    named === undefined
      ? [
          [join(user, 'config'), user],
          ['/etc/ssh/ssh_config', '/etc/ssh'],
        ]
      : [[named, user]];
  let reading = '';
  try {
    const lines = places.flatMap(([file = '', folder = '']) => {
      reading = file;
      if (named === undefined && !existsSync(file)) return [];
      return flattened(file, folder, home);
    });
    const config = SSHConfig.parse(lines.join('\n'));
    parsed.set(key, config);
    return config;
  } catch (cause) {
    if (cause instanceof ConfigurationError) throw cause;
    throw new ConfigurationError(
      `Cannot read ${reading}: ${(cause as Error).message}`,
      {},
      { cause, remedy: `Check it with \`ssh -G -F ${reading} HOST\`.` },
    );
  }
}

/** What ssh_config says of a host. @throws ConfigurationError */
export function sshOptionsOf(host: string, named: string | undefined, home: string): SshOptionValues {
  return configOf(named, home).compute(host, { ignoreCase: true });
}
