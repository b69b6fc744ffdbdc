import { createHmac, randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { entriesFor, judgeHostKey, parseKnownHosts } from '../../src/remote/known-hosts.ts';

const keyOf = (name: string): Buffer =>
  Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('ssh-ed25519'), Buffer.from(name.padEnd(32))]);
const line = (host: string, name: string, marker = ''): string =>
  `${marker}${host} ssh-ed25519 ${keyOf(name).toString('base64')}`;
const judge = (text: string, names: string[], port: number, name: string): string =>
  judgeHostKey(entriesFor(parseKnownHosts(text, 'f'), names, port), keyOf(name)).kind;

function hashed(label: string): string {
  const salt = randomBytes(20);
  return `|1|${salt.toString('base64')}|${createHmac('sha1', salt).update(label).digest('base64')}`;
}

describe('known_hosts', () => {
  test.each([
    ['a plain name on port 22', line('node1', 'k'), ['node1'], 22, 'known'],
    ['another port needs brackets', line('node1', 'k'), ['node1'], 2222, 'unknown'],
    ['brackets', line('[node1]:2222', 'k'), ['node1'], 2222, 'known'],
    ['one of several names', line('a,node1,b', 'k'), ['node1'], 22, 'known'],
    ['the address instead of the name', line('10.0.0.1', 'k'), ['node1', '10.0.0.1'], 22, 'known'],
    ['hashed', line(hashed('node1'), 'k'), ['node1'], 22, 'known'],
    ['hashed with a port', line(hashed('[node1]:2222'), 'k'), ['node1'], 2222, 'known'],
    ['a wildcard', line('node*', 'k'), ['node7'], 22, 'known'],
    ['an exception to it', line('node*,!node7', 'k'), ['node7'], 22, 'unknown'],
    ['upper case', line('node1', 'k'), ['NODE1'], 22, 'known'],
    ['another key', line('node1', 'other'), ['node1'], 22, 'changed'],
    ['one of two keys', `${line('node1', 'other')}\n${line('node1', 'k')}`, ['node1'], 22, 'known'],
    ['a revoked key', `${line('node1', 'k')}\n${line('*', 'k', '@revoked ')}`, ['node1'], 22, 'revoked'],
    ['comments and rubbish', `# x\n\nrubbish\n@what a b c\n${line('node1', 'k')}`, ['node1'], 22, 'known'],
    ['nothing', '', ['node1'], 22, 'unknown'],
  ] as const)('%s', (_name, text, names, port, verdict) => {
    expect(judge(text, [...names], port, 'k')).toBe(verdict);
  });
});
