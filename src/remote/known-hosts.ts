import { createHmac, timingSafeEqual } from 'node:crypto';

/** One line of a known_hosts file. */
export interface KnownHost {
  readonly marker: 'cert-authority' | 'revoked' | undefined;
  readonly patterns: readonly string[];
  readonly keyType: string;
  readonly key: Buffer;
  readonly file: string;
  readonly line: number;
}

export type HostKeyVerdict =
  | { readonly kind: 'known' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'changed'; readonly entry: KnownHost }
  | { readonly kind: 'revoked'; readonly entry: KnownHost };

/** Lines that are no entries are left out, as OpenSSH does. */
export function parseKnownHosts(text: string, file: string): KnownHost[] {
  return text.split(/\r?\n/).flatMap((raw, index): KnownHost[] => {
    const words = raw.trim().split(/\s+/);
    if (words[0] === '' || words[0]?.startsWith('#') === true) return [];
    const marker = words[0]?.startsWith('@') === true ? words.shift()?.slice(1) : undefined;
    if (marker !== undefined && marker !== 'revoked' && marker !== 'cert-authority') return [];
    const [hosts, keyType, key] = words;
    if (hosts === undefined || keyType === undefined || key === undefined) return [];
    const bytes = Buffer.from(key, 'base64');
    if (bytes.length < 8) return [];
    return [{ marker, patterns: hosts.split(','), keyType, key: bytes, file, line: index + 1 }];
  });
}

/** How OpenSSH writes a host: `host` for port 22, else `[host]:port`. */
export function hostLabel(host: string, port: number): string {
  return port === 22 ? host : `[${host}]:${port}`;
}

function matchesHashed(pattern: string, label: string): boolean {
  const [, , salt, hash] = pattern.split('|');
  if (salt === undefined || hash === undefined) return false;
  const expected = Buffer.from(hash, 'base64');
  const actual = createHmac('sha1', Buffer.from(salt, 'base64')).update(label).digest();
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}

/** `*` and `?`, whatever the case of letters. */
export function matchesGlob(pattern: string, label: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 'i').test(label);
}

function matches(entry: KnownHost, labels: readonly string[]): boolean {
  let found = false;
  for (const pattern of entry.patterns) {
    const negated = pattern.startsWith('!');
    const plain = negated ? pattern.slice(1) : pattern;
    const hit = labels.some((label) =>
      plain.startsWith('|1|') ? matchesHashed(plain, label) : matchesGlob(plain, label),
    );
    if (hit && negated) return false;
    found ||= hit;
  }
  return found;
}

/** Entries for a host under the name that was typed or its address. */
export function entriesFor(
  entries: readonly KnownHost[],
  names: readonly string[],
  port: number,
): KnownHost[] {
  const labels = [...new Set(names)].map((name) => hostLabel(name.toLowerCase(), port));
  return entries.filter((entry) => entry.marker !== 'cert-authority' && matches(entry, labels));
}

/** Whether a certificate authority vouches for the host; certificates of hosts are not understood. */
export function isCertified(entries: readonly KnownHost[], names: readonly string[], port: number): boolean {
  const labels = names.map((name) => hostLabel(name.toLowerCase(), port));
  return entries.some((entry) => entry.marker === 'cert-authority' && matches(entry, labels));
}

/** The type name that a public key carries in its first field. */
export function keyTypeOf(key: Buffer): string {
  const length = key.length >= 4 ? key.readUInt32BE(0) : 0;
  return key.subarray(4, 4 + length).toString('latin1');
}

/** What the entries of a host say about the key that it shows. A revoked key stays refused whatever else is known. */
export function judgeHostKey(entries: readonly KnownHost[], key: Buffer): HostKeyVerdict {
  const revoked = entries.find((entry) => entry.marker === 'revoked' && entry.key.equals(key));
  if (revoked !== undefined) return { kind: 'revoked', entry: revoked };
  const plain = entries.filter((entry) => entry.marker === undefined);
  if (plain.some((entry) => entry.key.equals(key))) return { kind: 'known' };
  const [other] = plain;
  return other === undefined ? { kind: 'unknown' } : { kind: 'changed', entry: other };
}
