import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseLook } from '../../src/remote/preflight.ts';
import { grouped, judgeNodes } from '../../src/report/preflight.ts';
import { Project, type Finished } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';

/** What `optimizer check` finds on real nodes, each fault by itself, and the remedy that it names. */

interface Fault {
  readonly name: string;
  readonly check: string;
  readonly says: RegExp;
  readonly remedy: RegExp;
  /** Keys of the second of two nodes. */
  readonly node?: (project: Project) => string;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: (args: readonly string[]) => readonly string[];
  readonly prepare?: (project: Project) => AsyncDisposable | Disposable | undefined | Promise<Disposable>;
}

const nothing: Disposable = { [Symbol.dispose]: () => undefined };

const isRoot = process.getuid?.() === 0;

/** Tools of the node that say what a test wants them to. */
const standIns: Readonly<Record<string, string>> = {
  'nvidia-smi': `case $* in
*compute-apps*) echo '4711, python3, 20000 MiB' ;;
*memory.used*) i=0; while [ $i -lt 8 ]; do echo "$i, $(cat "$0.used" 2>/dev/null || echo 1), 80000"; i=$((i+1)); done ;;
*) i=0; while [ $i -lt \${FAKE_DEVICES:-8} ]; do echo $i; i=$((i+1)); done ;;
esac`,
  vllm: `[ -z "$FAKE_NO_VLLM" ] || exit 127; echo "\${FAKE_VLLM:-0.11.2}"`,
  date: `if [ "$*" = '+%s%3N' ]; then echo $(($(/usr/bin/date +%s%3N) + 1000 * \${FAKE_SKEW:-0})); else exec /usr/bin/date "$@"; fi`,
  du: `[ -z "$FAKE_NO_MODEL" ] || exit 1; echo "\${FAKE_MODEL_KB:-64000000} model"`,
};

describe.skipIf(!realSshd.available)('check', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(2);
    for (const [name, body] of Object.entries(standIns))
      writeFileSync(
        join(cluster.bin, name),
        `#!/bin/sh\n${body.replace('echo "${FAKE_MODEL_KB:-64000000} model"', 'printf "%s\\tmodel\\n" "${FAKE_MODEL_KB:-64000000}"')}\n`,
        { mode: 0o755 },
      );
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  /** One group of two nodes; what differs is of the second. */
  function configure(project: Project, { node, env = {} }: Pick<Fault, 'node' | 'env'>): void {
    const [master, worker] = cluster.hosts;
    const variables = Object.entries(env).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
    writeFileSync(
      join(project.directory, 'check.toml'),
      `engine = "vllm"
[vllm.command]
model = "/models/big"
[parallel]
enabled = true
[parallel.defaults]
work_dir = "${project.directory}/work"
known_hosts_file = "${project.directory}/known_hosts"
health_check_url = "http://{host}:${project.servicePort}/health"
ssh_port = ${cluster.port}
identity_file = "${cluster.identity}"
[[parallel.service_groups]]
group_id = 0
[[parallel.service_groups.nodes]]
host = "${master!.address}"
[[parallel.service_groups.nodes]]
host = "${worker!.address}"
${node?.(project) ?? ''}
env = { ${variables.join(', ')} }
`,
    );
    writeFileSync(join(project.directory, 'known_hosts'), readFileSync(cluster.knownHosts));
  }

  async function look(
    fault: Pick<Fault, 'node' | 'env' | 'args' | 'prepare'>,
    json = true,
  ): Promise<Finished> {
    await using project = new Project(cluster);
    configure(project, fault);
    const undo = (await fault.prepare?.(project)) ?? nothing;
    const args = ['check', '-c', 'check.toml', ...(json ? ['--json'] : [])];
    try {
      return await project.run(fault.args?.(args) ?? args);
    } finally {
      if (Symbol.asyncDispose in undo) await undo[Symbol.asyncDispose]();
      else undo[Symbol.dispose]();
    }
  }

  test('two good nodes are ready: exit 0, a mark for every check', async () => {
    const { code, stdout, stderr } = await look({}, false);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/2 node\(s\) are ready\n$/);
    for (const { address } of cluster.hosts)
      expect(stdout).toMatch(new RegExp(`^${address.replaceAll('.', '\\.')}(\\s+✓){10}$`, 'm'));
    expect(code).toBe(0);
  });

  test('a load tool is looked for where it runs', async () => {
    for (const [where, host] of [
      ['master', cluster.hosts[0]!.address],
      ['controller', 'this machine'],
    ] as const) {
      await using project = new Project(cluster);
      configure(project, {});
      const config = join(project.directory, 'check.toml');
      const tool = `benchmark = "command"\n[command]\nrun_on = "${where}"\ncommand = "no-such-tool --url {base_url}"\n`;
      const metrics = `[command.metrics]\ngenerate_speed = { value = "speed", unit = "tok/s" }\nsuccess_rate = { value = "share", unit = "share" }\n`;
      const engine = readFileSync(config, 'utf8').replace('engine = "vllm"\n', '');
      writeFileSync(config, `engine = "vllm"\n${tool}${metrics}${engine}`);
      const { code, stdout } = await project.run(['check', '-c', 'check.toml']);
      expect(stdout).toMatch(/no-such-tool is not found/);
      expect(stdout).toContain(`on ${host}: `);
      expect(code).toBe(3);
    }
  });

  const knownHosts = (project: Project): string => join(project.directory, 'known_hosts');
  const lines = (project: Project): string[] => readFileSync(knownHosts(project), 'utf8').trim().split('\n');

  const faults: readonly Fault[] = [
    {
      name: 'host down',
      check: 'reach',
      prepare: () => {
        cluster.hosts[1]!.kill();
        return { [Symbol.asyncDispose]: async () => cluster.hosts[1]!.start() };
      },
      says: /Cannot reach .* connection refused/,
      remedy: /sshd listens/,
    },
    {
      name: 'wrong user',
      check: 'reach',
      node: () => 'username = "nobody-here"',
      says: /Authentication failed: nobody-here@/,
      remedy: /--user/,
    },
    {
      name: 'refused key',
      check: 'reach',
      node: (project) => `identity_file = "${project.directory}/other"`,
      prepare: ({ directory }) => {
        execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(directory, 'other')]);
        return undefined;
      },
      says: /Authentication failed: .*keys: \S*other/,
      remedy: /-i/,
    },
    {
      name: 'unknown host key',
      check: 'reach',
      prepare: (project) => {
        writeFileSync(knownHosts(project), `${lines(project)[0]}\n`);
        return undefined;
      },
      says: /host key of .* is unknown: /,
      remedy: /ssh-keyscan/,
    },
    {
      name: 'changed host key',
      check: 'reach',
      prepare: (project) => {
        const [first, second] = lines(project);
        const swapped = [first, [second!.split(' ')[0], ...first!.split(' ').slice(1)].join(' ')];
        writeFileSync(knownHosts(project), `${swapped.join('\n')}\n`);
        return undefined;
      },
      says: /host key of .* has CHANGED/,
      remedy: /ssh-keygen -R/,
    },
    {
      name: 'clock off by ten minutes',
      check: 'clock',
      env: { FAKE_SKEW: '-600' },
      says: /its clock is 10\.0 min behind/,
      remedy: /chrony/,
    },
    {
      name: 'work directory of another user',
      check: 'work dir',
      node: ({ directory }) => `work_dir = "${directory}/theirs"`,
      prepare: ({ directory }) => {
        mkdirSync(join(directory, 'theirs', 'runs'), { recursive: true });
        if (isRoot) chownSync(join(directory, 'theirs', 'runs'), 65_534, 65_534);
        return undefined;
      },
      says: /theirs\/runs belongs to another user/,
      remedy: /work_dir/,
    },
    {
      name: 'work directory on a file system that is read-only',
      check: 'work dir',
      node: ({ directory }) => `work_dir = "${directory}/fixed/work"`,
      prepare: ({ directory }) => disk(join(directory, 'fixed'), 'size=200m,ro'),
      says: /fixed is not writable/,
      remedy: /work_dir/,
    },
    {
      name: 'disk full',
      check: 'work dir',
      node: ({ directory }) => `work_dir = "${directory}/small/work"`,
      prepare: ({ directory }) => disk(join(directory, 'small'), 'size=1m'),
      says: /has [01] MiB left/,
      remedy: /room/,
    },
    {
      name: 'port taken',
      check: 'port',
      prepare: async ({ servicePort }) => taken(cluster.hosts[0]!.address, servicePort),
      says: /port \d+ is taken/,
      remedy: /ss -ltnp/,
    },
    {
      name: 'engine missing',
      check: 'engine',
      node: () => '',
      args: (args) => args,
      prepare: (project) => {
        const file = join(project.directory, 'check.toml');
        const text = readFileSync(file, 'utf8').replace(
          'engine = "vllm"\n',
          'engine = "vllm"\n[vllm]\nexecutable = ["vllm-of-mine"]\n',
        );
        writeFileSync(file, text);
        return undefined;
      },
      says: /vllm-of-mine is not found/,
      remedy: /PATH/,
    },
    {
      name: 'two versions in one run',
      check: 'engine',
      env: { FAKE_VLLM: '0.10.0' },
      says: /it has 0\.1[01]\.\d, others have 0\.1[01]\.\d/,
      remedy: /same version/,
    },
    {
      name: 'model missing on one node',
      check: 'model',
      env: { FAKE_NO_MODEL: '1' },
      says: /\/models\/big is not there/,
      remedy: /Copy the model/,
    },
    {
      name: 'a part of the model missing on one node',
      check: 'model',
      env: { FAKE_MODEL_KB: '1000000' },
      says: /has 1\.0 GiB, on others 61\.0 GiB|has 61\.0 GiB, on others 1\.0 GiB/,
      remedy: /Copy the model/,
    },
    {
      name: 'fewer devices than configured',
      check: 'devices',
      env: { FAKE_DEVICES: '4' },
      says: /devices 4, 5, 6, 7 are configured, and it has 4/,
      remedy: /npu_ids/,
    },
    {
      name: 'device memory in use',
      check: 'devices',
      prepare: () => {
        const used = join(cluster.bin, 'nvidia-smi.used');
        writeFileSync(used, '20000\n');
        return { [Symbol.dispose]: () => rmSync(used) };
      },
      says: /25 % of a device's memory is in use, held by 4711, python3/,
      remedy: /End it/,
    },
  ];

  /** A small file system, or one that cannot be written. */
  function disk(path: string, options: string): Disposable {
    mkdirSync(path);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `${options},mode=0777`, 'tmpfs', path]);
    return { [Symbol.dispose]: () => execFileSync('umount', ['-l', path]) };
  }

  async function taken(host: string, port: number): Promise<Disposable> {
    const server: Server = createServer();
    await new Promise<void>((listening) => server.listen(port, host, listening));
    return { [Symbol.dispose]: () => server.close() };
  }

  interface Document {
    readonly ready: boolean;
    readonly nodes: readonly {
      readonly host: string;
      readonly checks: readonly { check: string; state: string; text: string; remedy: string }[];
    }[];
  }

  test.each(faults)('$name: it is named, with the remedy, and nothing else is', async (fault) => {
    if (/read-only|full|another user/.test(fault.name) && !isRoot) return;
    const { code, stdout } = await look(fault);
    const { ready, nodes } = JSON.parse(stdout) as Document;
    const bad = nodes.flatMap(({ host, checks }) =>
      checks.filter(({ state }) => state === 'bad').map((one) => ({ host, ...one })),
    );
    expect(bad.map(({ check }) => check)).toEqual(bad.map(() => fault.check));
    expect(bad.length).toBeGreaterThan(0);
    expect(bad[0]!.text).toMatch(fault.says);
    expect(bad[0]!.remedy).toMatch(fault.remedy);
    expect(ready).toBe(false);
    expect(code).toBe(3);
  });

  test('leftovers of a dead run are named by their run, and `clean` ends them', async () => {
    await using project = new Project(cluster, { env: { FAKE_TPOT_MS: 100 } });
    const { child, done, output } = project.start();
    await expect.poll(() => output(), { timeout: 30_000 }).toMatch(/trial 1 on group/);
    await new Promise((passed) => setTimeout(passed, 1500));
    child.kill('SIGKILL');
    await done;
    const args = project.args;
    const { code, stdout } = await project.run(['check', ...args]);
    expect(stdout).toMatch(/✗ leftovers on .*: \d+ processes of the dead run \d{14}-/);
    expect(stdout).toContain('optimizer clean');
    expect(code).toBe(3);
    await project.run(['clean', ...args]);
    const again = await project.run(['check', ...args]);
    expect(again.stdout).not.toContain('leftovers on');
  });

  test('nothing is left on a node by looking at it', async () => {
    await using project = new Project(cluster);
    configure(project, {});
    await project.run(['check', '-c', 'check.toml']);
    expect(() => readFileSync(join(project.directory, 'work'))).toThrow('ENOENT');
  });
});

test('what a node says that is none of ours is left alone', () => {
  const look = parseLook('Welcome\tto\nlast login: never\nuser\troot\nclock\tsoon\nlimit\tMaxSessions 1\n');
  expect(look).toMatchObject({ user: 'root', clockMs: undefined, limits: { maxsessions: '1' } });
  const node = {
    ...{
      host: 'a',
      ...look,
      skewMs: undefined,
      workDir: '/w',
      port: 1,
      wantedDevices: [],
      memoryInUse: undefined,
    },
    ...{ memoryHolders: '', hasExecutable: false, model: undefined, leftovers: [] },
  };
  const [limits] = judgeNodes([node]).filter(({ check }) => check === 'limits');
  expect(limits).toMatchObject({ state: 'warning', text: 'MaxSessions is 1' });
  expect(
    grouped(judgeNodes([node, { ...node, host: 'b' }])).find(({ finding }) => finding === limits),
  ).toBeUndefined();
});
