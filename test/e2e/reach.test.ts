import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { namespacesAreAvailable, startNamespaces, type Namespaces } from '../support/netns.ts';
import { Project } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';
import { expectAllTold, expectNothingLeft, onEvent, toldIn } from '../chaos/promises.ts';

/** Where the benchmark runs, and how it gets to the service. */

const throughSsh = 'the load went through SSH, which is in the latencies';
const short = { particles: 2, iters: 1 } as const;

/** Without those that a busy machine adds. */
function flagsOf(project: Project): string[] {
  const flags = toldIn(project.journal()).flatMap(({ verdict }) =>
    verdict.kind === 'scored' ? verdict.flags : [],
  );
  return flags.filter((flag) => !flag.startsWith('distorted: '));
}

describe.skipIf(!realSshd.available)('on loopback', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(3);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  test('behind a jump host everything goes through it, and the report says so', async () => {
    await using project = new Project(cluster, short);
    const [gate, ...inside] = cluster.hosts.map(({ address }) => address);
    writeFileSync(join(project.directory, 'hosts.txt'), inside.join('\n'));
    const ssh_config = join(project.directory, 'ssh_config');
    writeFileSync(ssh_config, `Host ${inside.join(' ')}\n  ProxyJump ${gate}:${cluster.port}\n`);
    const { code, stderr, stdout } = await project.run([
      ...[...project.args, '-F', ssh_config, '--nodes-per-group', '1'],
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/group 0: .* is out of reach from here; its port is forwarded over SSH/);
    expectAllTold(project, 2);
    expect(flagsOf(project)).toEqual([throughSsh, throughSsh]);
    expect(readFileSync(join(project.runDirectory, 'report.html'), 'utf8')).toContain(throughSsh);
    await expectNothingLeft(project);
  });

  test('a host for load alone: it runs there, and one that is not there is named', async () => {
    await using project = new Project(cluster, short);
    const load = cluster.hosts[2]!.address;
    writeFileSync(join(project.directory, 'hosts.txt'), cluster.hosts[0]!.address);
    const where = join(project.directory, 'where.txt');
    const tool = project.script(
      'load.sh',
      `echo "$SSH_CONNECTION" >>${where}; echo '{"speed": 100, "ok": 1, "ttft": 0.01}'`,
    );
    const configure = (host: string): void =>
      project.configure({
        ...short,
        top: 'benchmark = "command"',
        builtin: `[command]
command = "${tool} {base_url}"
run_on = "${host}"
[command.metrics]
generate_speed = { value = "speed", unit = "tok/s" }
success_rate = { value = "ok", unit = "share" }
time_to_first_token = { value = "ttft", unit = "s" }`,
      });
    configure(`host:${load}`);
    const args = [...project.args, '--nodes-per-group', '1'];
    const { code, stderr } = await project.run(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const seen = readFileSync(where, 'utf8').trim().split('\n');
    expect(seen.map((line) => line.split(' ')[2])).toEqual([load, load]);
    await expectNothingLeft(project);
    const missing = join(project.directory, 'config.toml');
    writeFileSync(missing, readFileSync(missing, 'utf8').replace(tool, 'no-such-tool'));
    const checked = await project.run(['check', ...args]);
    expect(checked.code).toBe(3);
    expect(checked.stdout).toContain(`the benchmark's program no-such-tool is not found on ${load}`);
    configure('host:a,b');
    const refused = await project.run(args);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/command\.run_on: "host:a,b" → "controller", "master" or "host:NAME"/);
  });
});

describe.skipIf(!realSshd.available)('the built-in load generator', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(3);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  /** Says by which connection a Node was started on a node. */
  const witnessed = (project: Project): string => {
    const where = join(project.directory, 'where.txt');
    const script = `#!/bin/sh\necho "$SSH_CONNECTION" >>${where}\nexec ${process.execPath} "$@"\n`;
    writeFileSync(join(cluster.bin, 'node'), script, { mode: 0o755 });
    return where;
  };

  test.each([
    ['master', 0],
    ['host', 2],
  ])('on the %s: as many measurements as here, and nothing is left', async (kind, index) => {
    const { address } = cluster.hosts[index]!;
    const runOn = kind === 'master' ? 'master' : `host:${address}`;
    await using project = new Project(cluster, { ...short, particles: 3, builtin: `run_on = "${runOn}"` });
    writeFileSync(join(project.directory, 'hosts.txt'), cluster.hosts[0]!.address);
    const where = witnessed(project);
    const args = [...project.args, '--nodes-per-group', '1'];
    const { code, stderr } = await project.run(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, 3);
    expect(flagsOf(project)).toEqual([]);
    expect(project.summary().evaluations.measured).toBe(3);
    const seen = readFileSync(where, 'utf8').trim().split('\n');
    expect(seen.filter((line) => line !== '').map((line) => line.split(' ')[2])).toEqual([
      address,
      address,
      address,
    ]);
    await expectNothingLeft(project);
  });

  test('its machine has no Node: `check` says so beforehand', async () => {
    const bin = join(cluster.directory, 'without-node');
    mkdirSync(bin);
    const programs = readdirSync('/usr/bin').filter((name) => name !== 'node');
    for (const name of programs) symlinkSync(join('/usr/bin', name), join(bin, name));
    const env = { PATH: bin };
    await using project = new Project(cluster, { ...short, env, builtin: 'run_on = "master"' });
    const { code, stdout } = await project.run(['check', ...project.args, '--nodes-per-group', '1']);
    expect(code).toBe(3);
    expect(stdout).toMatch(/node is not found/);
  });

  test('Ctrl-C while it makes load: it is ended with the rest', async () => {
    await using project = new Project(cluster, {
      ...short,
      env: { FAKE_TPOT_MS: 500 },
      builtin: `run_on = "host:${cluster.hosts[2]!.address}"`,
    });
    writeFileSync(join(project.directory, 'hosts.txt'), cluster.hosts[0]!.address);
    witnessed(project);
    const { child, done } = project.start([...project.args, '--nodes-per-group', '1', '--events', 'json']);
    onEvent(child.stdout, /"type":"trial.progress"/, () => child.kill('SIGINT'));
    const { code } = await done;
    expect(code).toBe(130);
    await expectNothingLeft(project);
    const files = readdirSync(join(project.directory, 'scratch'), { recursive: true, encoding: 'utf8' });
    expect(files.some((name) => name.includes('load-agent-'))).toBe(true);
    expect(files.filter((name) => name.includes('bench-'))).toEqual([]);
  });
});

describe.skipIf(!realSshd.available || !namespacesAreAvailable())('in networks of their own', () => {
  let network: Namespaces;
  let cluster: SshdCluster;
  beforeAll(async () => {
    network = startNamespaces(1);
    cluster = await realSshd.start(1, undefined, { network });
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
    network[Symbol.dispose]();
  });

  test.each(['auto', 'never'])(
    'a port that is closed to the controller, forward_ports = %s',
    async (policy) => {
      await using project = new Project(cluster, {
        ...short,
        parallel: `retry_count = 0\nforward_ports = "${policy}"`,
        defaults: 'health_check_timeout = 3',
      });
      const script = readFileSync(join(project.directory, 'start.sh'), 'utf8');
      project.script('start.sh', script.replace('$MASTER_ADDR', '127.0.0.1').replace('#!/bin/sh\n', ''));
      const { code, stdout } = await project.run([...project.args, '--nodes-per-group', '1']);
      await expectNothingLeft(project);
      if (policy === 'never') {
        expect(code).not.toBe(0);
        return;
      }
      expect(code).toBe(0);
      expect(stdout).toMatch(/is out of reach from here; its port is forwarded over SSH/);
      expect(flagsOf(project)).toEqual([throughSsh, throughSsh]);
    },
  );
});
