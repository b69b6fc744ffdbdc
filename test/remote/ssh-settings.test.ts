import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NodeConfig } from '../../src/config/parallel-config.ts';
import { sshSettings } from '../../src/remote/ssh-settings.ts';

function home(): string {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-home-'));
  mkdirSync(join(directory, '.ssh'));
  for (const name of ['id_ed25519', 'cluster']) writeFileSync(join(directory, '.ssh', name), '');
  writeFileSync(
    join(directory, '.ssh/config'),
    'Host node*\n  HostName 10.0.0.7\n  User cluster-user\n  Port 2200\n  IdentityFile ~/.ssh/cluster\n',
  );
  return directory;
}

test('HostName, User, Port and IdentityFile come from ~/.ssh/config', () => {
  const at = home();
  expect(sshSettings(new NodeConfig({ host: 'node1' }), at, {})).toMatchObject({
    host: 'node1',
    address: '10.0.0.7',
    port: 2200,
    user: 'cluster-user',
    identityFiles: [join(at, '.ssh/cluster')],
    agent: undefined,
  });
});

test('what the configuration says wins, and a named key is the only one tried', () => {
  const at = home();
  const node = new NodeConfig({
    host: 'node1',
    ssh_port: 22,
    username: 'me',
    identity_file: '~/.ssh/id_ed25519',
  });
  expect(sshSettings(node, at, { SSH_AUTH_SOCK: '/agent' })).toMatchObject({
    port: 22,
    user: 'me',
    identityFiles: [join(at, '.ssh/id_ed25519')],
    identitiesOnly: true,
    agent: '/agent',
  });
});

test('a host that nobody describes gets the defaults', () => {
  const at = home();
  expect(sshSettings(new NodeConfig({ host: 'elsewhere' }), at, {})).toMatchObject({
    address: 'elsewhere',
    port: 22,
    identityFiles: [join(at, '.ssh/id_ed25519')],
    knownHostsFiles: [
      join(at, '.ssh/known_hosts'),
      join(at, '.ssh/known_hosts2'),
      '/etc/ssh/ssh_known_hosts',
    ],
  });
});

test('a key that is not there is named', () => {
  expect(() => sshSettings(new NodeConfig({ host: 'a', identity_file: '/no/key' }), home(), {})).toThrow(
    /The identity file \/no\/key does not exist/,
  );
});

test.each([
  [{ host: 'a;reboot' }, /"a;reboot" is no host name/],
  [{ host: '-oProxyCommand=x' }, /is no host name/],
  [{ host: 'a', username: '$(id)' }, /is no user name/],
])('words of the shell get into no command of ssh_config: %o', (node, message) => {
  expect(() => sshSettings(new NodeConfig(node), home(), {})).toThrow(message);
});
