import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { ModelEvalStateError } from '../../src/base/errors.ts';
import { ms } from '../../src/base/units.ts';
import { NodeConfig } from '../../src/config/parallel-config.ts';
import type { Executor } from '../../src/parallel/ports.ts';
import { sshConnector } from '../../src/remote/remote-executor.ts';
import { unlockKeys } from '../../src/remote/ssh-keys.ts';
import { sshSettings } from '../../src/remote/ssh-settings.ts';
import { quote } from '../../src/remote/quote.ts';
import { Terminal } from '../support/terminal.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';

/** Ways to a node that users have in ~/.ssh/config, over real sshd. */

const said = async (executor: Executor, line: string): Promise<string> =>
  (await executor.run({ argv: ['sh', '-c', line] }, { signal: never, timeout: ms(10_000) })).stdout.trim();

async function refusal(node: NodeConfig): Promise<ModelEvalStateError> {
  const connector = sshConnector({ acceptNewHostKeys: false });
  try {
    const executor = await connector.connect(node, never, { retry: false });
    await executor[Symbol.asyncDispose]();
  } catch (error) {
    if (error instanceof ModelEvalStateError) return error;
    throw error;
  }
  throw new Error('it connected');
}

/** Sessions of an sshd: its children that are sshd as well. */
function sessions(pid: number): number {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? 0 : children.split(' ').length;
}

function writeConfig(cluster: SshdCluster, text: string): string {
  const file = join(cluster.directory, `ssh_config-${Math.random().toString(36).slice(2)}`);
  const common = `  Port ${cluster.port}\n  UserKnownHostsFile ${cluster.knownHosts}\n  IdentityFile ${cluster.identity}\n`;
  writeFileSync(file, text.replaceAll('COMMON\n', common));
  return file;
}

describe.skipIf(!realSshd.available)('ssh_config', () => {
  const agents: number[] = [];
  afterEach(() => {
    for (const pid of agents.splice(0)) process.kill(pid);
  });

  /** An agent of its own, with a key. */
  function agent(directory: string, key?: string): string {
    const socket = join(directory, 'agent');
    const said = execFileSync('ssh-agent', ['-a', socket], { encoding: 'utf8' });
    agents.push(Number(/SSH_AGENT_PID=(\d+)/.exec(said)?.[1]));
    if (key !== undefined) {
      execFileSync('ssh-add', [key], { env: { ...process.env, SSH_AUTH_SOCK: socket }, stdio: 'pipe' });
    }
    return socket;
  }

  test('nodes behind a jump host share one connection to it, and are lost with it', async () => {
    await using cluster = await realSshd.start(4);
    const [gate, ...inside] = cluster.hosts;
    const names = inside.map(({ address }, index) => `Host in${index}\n  HostName ${address}\nCOMMON\n`);
    const ssh_config = writeConfig(
      cluster,
      `${names.join('')}Host gate\n  HostName ${gate!.address}\nCOMMON\nHost in* !in2\n  ProxyJump gate\nHost in2\n  ProxyJump none\n`,
    );
    const connector = sshConnector({ acceptNewHostKeys: false });
    const open = async (host: string) =>
      connector.connect(new NodeConfig({ host, ssh_config }), never, { retry: false });
    const nodes = await Promise.all([open('in0'), open('in1')]);
    await using direct = await open('in2');
    const from = await Promise.all([...nodes, direct].map(async (one) => said(one, 'echo $SSH_CONNECTION')));
    expect(from.map((line) => line.split(' ')[2])).toEqual(inside.map(({ address }) => address));
    expect(sessions(gate!.pid())).toBe(1);
    gate!.kill();
    await Promise.all(
      nodes.map(async ({ lost }) => expect.poll(() => lost.aborted, { timeout: 5000 }).toBe(true)),
    );
    expect(await said(direct, 'echo there')).toBe('there');
    // Its name is told, and it is not asked for what it cannot do.
    expect((await refusal(new NodeConfig({ host: 'in0', ssh_config }))).message).toMatch(/Cannot reach gate/);
    await gate!.start();
    {
      await using again = await open('in0');
      expect(await said(again, 'echo back')).toBe('back');
      expect(sessions(gate!.pid())).toBe(1);
    }
    // Nobody is behind it any more.
    await expect.poll(() => sessions(gate!.pid()), { timeout: 5000 }).toBe(0);
    for (const node of nodes) await node[Symbol.asyncDispose]();
  });

  test('two jump hosts in a row, a node that is down behind them, and a ring', async () => {
    await using cluster = await realSshd.start(3);
    const [first, second, node] = cluster.hosts;
    const ssh_config = writeConfig(
      cluster,
      [
        `Host *\nCOMMON`,
        `Host a\n  HostName ${first!.address}\nHost b\n  HostName ${second!.address}\nHost n\n  HostName ${node!.address}`,
        'Host n\n  ProxyJump a,b',
        'Host x\n  ProxyJump y\nHost y\n  ProxyJump x\n',
      ].join('\n'),
    );
    const connector = sshConnector({ acceptNewHostKeys: false });
    const at = new NodeConfig({ host: 'n', ssh_config });
    {
      await using executor = await connector.connect(at, never, { retry: false });
      const [client] = (await said(executor, 'echo $SSH_CONNECTION')).split(' ');
      expect(client).not.toBe('');
      expect([sessions(first!.pid()), sessions(second!.pid())]).toEqual([1, 1]);
    }
    node!.kill();
    expect((await refusal(at)).message).toMatch(/The jump host b does not get to .*refused/i);
    expect(() => sshSettings(new NodeConfig({ host: 'x', ssh_config }))).toThrow(/go round in a ring/);
  });

  test('Include, ProxyCommand, HostKeyAlias and a key that is learned', async () => {
    await using cluster = await realSshd.start(1);
    const { address } = cluster.hosts[0]!;
    const { directory, port, identity } = cluster;
    const learned = join(directory, 'learned');
    mkdirSync(join(directory, 'conf.d'));
    writeFileSync(
      join(directory, 'conf.d/1.conf'),
      `Host here\n  ProxyCommand exec ${process.execPath} -e "const s=require('net').connect(${port},'%h');process.stdin.pipe(s).pipe(process.stdout)"\n`,
    );
    const ssh_config = writeConfig(
      cluster,
      `Include ${directory}/conf.d/*.conf\nHost here\n  HostName ${address}\n  HostKeyAlias farm\n  IdentityFile ${identity}\n  UserKnownHostsFile ${learned}\n  StrictHostKeyChecking accept-new\n`,
    );
    const connector = sshConnector({ acceptNewHostKeys: false });
    await using executor = await connector.connect(new NodeConfig({ host: 'here', ssh_config }), never, {
      retry: false,
    });
    expect((await said(executor, 'echo $SSH_CONNECTION')).split(' ')[2]).toBe(address);
    expect(readFileSync(learned, 'utf8')).toMatch(/^farm ssh-ed25519 /);
  });

  test('a key with a passphrase: of an agent, which is asked for no other one; or asked for', async () => {
    await using cluster = await realSshd.start(1);
    const { identity, directory } = cluster;
    const [locked, other] = [join(directory, 'locked'), join(directory, 'other')];
    execFileSync('cp', ['-p', identity, locked]);
    const socket = agent(directory, locked);
    execFileSync('ssh-keygen', ['-q', '-p', '-N', 'open sesame', '-P', '', '-f', locked]);
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', other]);
    execFileSync('ssh-add', [other], { env: { ...process.env, SSH_AUTH_SOCK: socket }, stdio: 'pipe' });
    const node = (file: string, agentSocket: string): NodeConfig => {
      const { address } = cluster.hosts[0]!;
      const text = `Host n\n  HostName ${address}\n  Port ${cluster.port}\n  UserKnownHostsFile ${cluster.knownHosts}\n  IdentityFile ${file}\n  IdentityAgent ${agentSocket}\n  IdentitiesOnly yes\n`;
      return new NodeConfig({ host: 'n', ssh_config: writeConfig(cluster, text) });
    };
    const connector = sshConnector({ acceptNewHostKeys: false });
    {
      await using executor = await connector.connect(node(locked, socket), never, { retry: false });
      expect(await said(executor, 'echo by agent')).toBe('by agent');
    }
    // The agent has the right key, and IdentitiesOnly keeps it from being tried.
    expect((await refusal(node(other, socket))).message).toMatch(
      /refused the login \(keys: .*other; agent asked\)/,
    );
    const alone = await refusal(node(locked, 'none'));
    expect(alone.message).toMatch(/locked needs a passphrase/);
    expect(alone.remedy).toMatch(/ssh-add .*locked/);
    const asked: string[] = [];
    await unlockKeys([sshSettings(node(locked, 'none'))], async (question) => {
      asked.push(question);
      return Promise.resolve(asked.length === 1 ? 'wrong' : 'open sesame');
    });
    expect(asked[1]).toBe(`That was another one. Passphrase for ${locked}: `);
    await using executor = await connector.connect(node(locked, 'none'), never, { retry: false });
    expect(await said(executor, 'echo opened')).toBe('opened');
  });

  test.skipIf(spawnSync('tmux', ['-V']).status !== 0)('on a terminal it is asked for, unseen', async () => {
    await using cluster = await realSshd.start(1);
    const { identity, directory, port, knownHosts, hosts } = cluster;
    execFileSync('ssh-keygen', ['-q', '-p', '-N', 'open sesame', '-P', '', '-f', identity]);
    const ssh_config = writeConfig(
      cluster,
      `Host n\n  HostName ${hosts[0]!.address}\n  Port ${port}\n  UserKnownHostsFile ${knownHosts}\n  IdentityFile ${identity}\n  IdentityAgent none\n`,
    );
    using terminal = new Terminal(120, 24);
    const cli = resolve(import.meta.dirname, '../../dist/cli/main.js');
    const words = [process.execPath, cli, 'clean', '-F', ssh_config, '--node-string', 'n'];
    terminal.type(`cd ${quote(directory)} && ${words.map(quote).join(' ')}; echo "code $?"`);
    const seen = async (what: RegExp): Promise<void> =>
      expect.poll(() => terminal.screen, { timeout: 20_000 }).toMatch(what);
    await seen(/Passphrase for .*id: *$/m);
    terminal.type('wrong');
    await seen(/That was another one/);
    terminal.type('open sesame');
    await seen(/nothing of ours is running[^]*code 0/);
    expect(terminal.screen).not.toMatch(/sesame/);
  });

  test.each<[string, readonly string[], RegExp, RegExp]>([
    [
      'passwords',
      ['PubkeyAuthentication no', 'PasswordAuthentication yes'],
      /takes no keys, only password/,
      /ssh-copy-id/,
    ],
    [
      'a second factor',
      ['AuthenticationMethods publickey,password', 'PasswordAuthentication yes'],
      /the key is right, but a second factor/,
      /AuthenticationMethods publickey/,
    ],
  ])('%s: refused with a sentence', async (_name, config, message, remedy) => {
    await using cluster = await realSshd.start(1, undefined, { config });
    const error = await refusal(cluster.nodeConfig(0));
    expect(error.message).toMatch(message);
    expect(error.remedy).toMatch(remedy);
    expect(error.blame).toBe('operator');
  });

  test('certificates of users and of hosts, and revoked keys: refused with a sentence', async () => {
    await using cluster = await realSshd.start(1);
    const { directory, knownHosts, hosts, port } = cluster;
    const { address } = hosts[0]!;
    const [authority, mine] = [join(directory, 'ca'), join(directory, 'mine')];
    for (const file of [authority, mine])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file]);
    execFileSync('ssh-keygen', ['-q', '-s', authority, '-I', 'me', '-n', 'root', `${mine}.pub`]);
    const node = (file: string, known = knownHosts): NodeConfig =>
      new NodeConfig({ host: address, ssh_port: port, identity_file: file, known_hosts_file: known });
    expect((await refusal(node(mine))).message).toMatch(
      /mine-cert\.pub is a certificate, which cannot be used/,
    );
    const [, ...key] = readFileSync(knownHosts, 'utf8').trim().split(' ');
    const files = {
      certified: `@cert-authority [127.*]:${port} ${readFileSync(`${authority}.pub`, 'utf8')}`,
      revoked: `[${address}]:${port} ${key.join(' ')}\n@revoked * ${key.join(' ')}\n`,
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    const certified = await refusal(node(cluster.identity, join(directory, 'certified')));
    expect(certified.remedy).toMatch(/^Certificates of hosts cannot be checked here; add its own key/);
    const revoked = await refusal(node(cluster.identity, join(directory, 'revoked')));
    expect(revoked.message).toMatch(/is revoked by .*revoked:2/);
  });
});
