import { isIPv6 } from 'node:net';

/** How hosts are written in hostfiles, in --node-string and in the variables of Slurm. */

/** A host and what its line says about it; `~/.ssh/config` and the configuration say the rest. */
export interface HostEntry {
  readonly host: string;
  readonly user?: string;
  readonly port?: number;
  /** Number of devices. */
  readonly slots?: number;
  /** Device ids, where a selection names them. */
  readonly devices?: readonly number[];
  /** Device ids that are not used. */
  readonly without?: readonly number[];
}

/** A host with where it was written; columns are counted from 1. */
export interface PlacedHost extends HostEntry {
  readonly column: number;
}

/** What is wrong with a word, and what should stand there. */
export interface WordProblem {
  readonly column: number;
  readonly value: string;
  readonly expected: string;
}

/** More is a slip: the tool is for up to 500 machines. */
const mostHosts = 10_000;

const hostName = /^[^\s,;#@/\\'"[\]{}()<>|&$`!*?=:^]+$/;

class Malformed extends Error {}

/** The text at top level: without what stands in brackets. */
function splitOutside(text: string, isSeparator: (char: string) => boolean): { text: string; at: number }[] {
  const parts: { text: string; at: number }[] = [];
  let depth = 0;
  let begin = 0;
  for (let i = 0; i <= text.length; i++) {
    const char = text[i] ?? '';
    if (char === '[') depth++;
    if (char === ']') depth--;
    if (i < text.length && (depth > 0 || !isSeparator(char))) continue;
    parts.push({ text: text.slice(begin, i), at: begin });
    begin = i + 1;
  }
  return parts;
}

/** `a:b:c` → its parts, with where each begins; colons in brackets do not count. */
export const colonParts = (text: string): { text: string; at: number }[] =>
  splitOutside(text, (char) => char === ':');

/** One item of a bracket: `8`, `01-08`, `0-6/2`, or Ansible's `01:08`, `0:6:2` and `a:f`. */
function expandItem(item: string): string[] {
  if (/^\d+$/.test(item)) return [item];
  const [, first = '', last = '', step = '1'] =
    /^(\d+)-(\d+)(?:\/(\d+))?$/.exec(item) ?? /^(\d+):(\d+)(?::(\d+))?$/.exec(item) ?? [];
  if (first !== '') return count(first, last, Number(step), item);
  const letters = /^([a-z]):([a-z])$/i.exec(item);
  if (letters === null) {
    throw new Malformed(`a range such as [1-8], [01-08], [0-6/2] or [1,4-6] in place of '${item}'`);
  }
  const [from, to] = letters.slice(1).map((letter) => letter.charCodeAt(0)) as [number, number];
  if (from > to) throw new Malformed(`a range that goes upwards in place of '${item}'`);
  return Array.from({ length: to - from + 1 }, (_, i) => String.fromCharCode(from + i));
}

function count(first: string, last: string, step: number, item: string): string[] {
  const [from, to] = [Number(first), Number(last)];
  if (from > to) throw new Malformed(`a range that goes upwards in place of '${item}'`);
  if (step < 1) throw new Malformed(`a step of at least 1 in '${item}'`);
  const length = Math.floor((to - from) / step) + 1;
  if (length > mostHosts) throw new Malformed(`a range of at most ${mostHosts} hosts in place of '${item}'`);
  // Zeros in front are kept: node[08-11] is node08, node09, node10, node11.
  const width = first.startsWith('0') ? first.length : 0;
  return Array.from({ length }, (_, i) => String(from + i * step).padStart(width, '0'));
}

/** `node[01-03]-ib[0,1]` → all of its names, the last bracket turning fastest. */
function expandRanges(pattern: string): string[] {
  const bracket = /\[([^[\]]*)\]/.exec(pattern);
  if (bracket === null) {
    if (/[[\]]/.test(pattern)) throw new Malformed('brackets that are closed');
    return [pattern];
  }
  const items = (bracket[1] ?? '').split(',').flatMap(expandItem);
  const rest = expandRanges(pattern.slice(bracket.index + bracket[0].length));
  if (items.length * rest.length > mostHosts) throw new Malformed(`at most ${mostHosts} hosts`);
  const head = pattern.slice(0, bracket.index);
  return items.flatMap((item) => rest.map((tail) => `${head}${item}${tail}`));
}

const isAddress6 = (text: string): boolean => isIPv6(text.replace(/%[\w.-]+$/, ''));

function portOf(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw new Malformed('a port from 1 to 65535');
  return port;
}

/** `[fe80::1]`, `[fe80::1]:2222` */
function bracketed(text: string): HostEntry | undefined {
  const [, address = '', port] = /^\[([^\]]+)\](?::(.*))?$/.exec(text) ?? [];
  if (!isAddress6(address)) return undefined;
  return { host: address, ...(port === undefined ? {} : { port: portOf(port) }) };
}

/** `user@` and a name, an address or a pattern of names → its hosts. @throws Malformed */
function hostsOf(word: string): HostEntry[] {
  if (/^@|[!&^*?]/.test(word)) {
    throw new Malformed(
      'hosts alone; groups, wildcards and set operators of ClusterShell are expanded with `nodeset -e`',
    );
  }
  const [, user, rest = word] = /^([^@]*)@(.*)$/.exec(word) ?? [];
  if (user === undefined) return namesOf(rest);
  if (!/^[\w.-]+\$?$/.test(user)) throw new Malformed('user@host');
  return namesOf(rest).map((entry) => ({ user, ...entry }));
}

function namesOf(text: string): HostEntry[] {
  const six = bracketed(text) ?? (isAddress6(text) ? { host: text } : undefined);
  if (six !== undefined) return [six];
  const [, name, number] = /^([^:]*):(\d+)$/.exec(text) ?? [];
  if (name !== undefined && number !== undefined) {
    throw new Malformed(
      `'${name} port=${number}' where ${number} is the SSH port, or '${name} slots=${number}' where it is the number of devices`,
    );
  }
  return expandRanges(text).map((host) => {
    if (hostName.test(host)) return { host };
    throw new Malformed('a host name or address, such as node01, me@node[01-08] or [fe80::1]:2222');
  });
}

/** `port=2222`, `slots=8`, `user=me`; Ansible's names mean the same. @throws Malformed */
function attribute(key: string, value: string): Partial<HostEntry> {
  switch (key) {
    case 'slots': {
      const slots = Number(value);
      if (!Number.isInteger(slots) || slots < 1 || slots > 1024) {
        throw new Malformed('slots=N with N from 1 to 1024, the number of devices');
      }
      return { slots };
    }
    case 'max_slots':
    case 'max-slots': // bounds oversubscription, which there is none of
      return {};
    case 'port':
    case 'ansible_port':
      return { port: portOf(value) };
    case 'user':
    case 'ansible_user':
      return { user: value };
    default:
      throw new Malformed(`slots=, port= or user= in place of ${key}=; more is said in ~/.ssh/config`);
  }
}

/**
 * Hosts between blanks or commas; `key=value` words belong to the hosts before them. `offset` is where the text begins
 * on its line.
 */
export function parseHosts(text: string, offset = 0): { hosts: PlacedHost[]; problems: WordProblem[] } {
  const hosts: PlacedHost[] = [];
  const problems: WordProblem[] = [];
  /** How many hosts the attributes that follow belong to. */
  let latest = 0;
  const read = (word: string, column: number): void => {
    const [, key, value = ''] = /^([A-Za-z_-]+)=(.*)$/.exec(word) ?? [];
    if (key === undefined) {
      const found = hostsOf(word);
      if (hosts.length + found.length > mostHosts) throw new Malformed(`at most ${mostHosts} hosts`);
      latest = found.length;
      hosts.push(...found.map((entry) => ({ ...entry, column })));
      return;
    }
    if (latest === 0) throw new Malformed(`a host before ${key}=`);
    const more = attribute(key, value);
    hosts.push(...hosts.splice(-latest).map((entry) => ({ ...entry, ...more })));
  };
  for (const { text: word, at } of splitOutside(text, (char) => /[ \t\r\n,]/.test(char))) {
    if (word.trim() === '') continue;
    const column = offset + at + 1;
    try {
      read(word, column);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      problems.push({ column, value: word, expected: error.message });
      latest = 0;
    }
  }
  return { hosts, problems };
}

/** As it would be written in a hostfile. */
export function hostLine({ host, user, port, slots }: HostEntry): string {
  return [
    `${user === undefined ? '' : `${user}@`}${host.includes(':') ? `[${host}]` : host}`,
    ...(port === undefined ? [] : [`port=${port}`]),
    ...(slots === undefined ? [] : [`slots=${slots}`]),
  ].join(' ');
}
