import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  entriesFor,
  judgeHostKey,
  keyTypeOf,
  parseKnownHosts,
  type KnownHost,
} from '../../src/remote/known-hosts.ts';
import { almost, numRuns } from './arbitraries.ts';

const key = 'AAAAC3NzaC1lZDI1NTE5AAAAIJ6t7t0mYtYb0pFh1c2m0m1m2m3m4m5m6m7m8m9n0n1n2';
const other = `${key.slice(0, -4)}AAAA`;
const hashed = '|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg=';
const valid = `host,10.0.0.1 ssh-ed25519 ${key}\n${hashed} ssh-ed25519 ${key}\n@revoked *.bad ssh-ed25519 ${key}\n[h]:2222 ssh-ed25519 ${key} comment\n`;
const line = fc
  .tuple(
    fc.constantFrom('', '@revoked ', '@cert-authority ', '@other ', '# ', '  '),
    fc.constantFrom(
      'host',
      'h?st',
      '*',
      '!host,*',
      'host,!10.*',
      '[host]:22',
      hashed,
      '|1|',
      '|1|a',
      '|2|a|b',
      '!',
    ),
    fc.constantFrom(` ssh-ed25519 ${key}`, ` ssh-rsa ${other}`, ' ssh-ed25519 AAAA', ' ssh-ed25519', ''),
  )
  .map((parts) => parts.join(''));
const files = almost(
  [valid],
  fc.array(line, { maxLength: 5 }).map((lines) => lines.join('\n')),
);

describe('known_hosts files', () => {
  test('a verdict, whatever stands there; and nobody is trusted whose key does not stand there', () => {
    const keys = fc.oneof(
      fc.constantFrom(Buffer.from(key, 'base64'), Buffer.from(other, 'base64')),
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    );
    const names = fc.constantFrom(['host'], ['HOST', '10.0.0.1'], ['192.168.1.61'], ['x.bad']);
    fc.assert(
      fc.property(files, keys, names, fc.constantFrom(22, 2222), (text, shown, hosts, port) => {
        const entries: readonly KnownHost[] = parseKnownHosts(text, 'known_hosts');
        const own = entriesFor(entries, hosts, port);
        const verdict = judgeHostKey(own, shown);
        expect(typeof keyTypeOf(shown)).toBe('string');
        const stands = own.some((entry) => entry.marker === undefined && entry.key.equals(shown));
        const revoked = own.some((entry) => entry.marker === 'revoked' && entry.key.equals(shown));
        expect(verdict.kind === 'known').toBe(stands && !revoked);
        expect(verdict.kind === 'revoked').toBe(revoked);
      }),
      { numRuns },
    );
  });
});
