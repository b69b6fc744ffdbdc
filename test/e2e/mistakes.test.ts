import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Project, type Finished, type ProjectOptions } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';

/** Wrong things a person does: one message with the remedy, the right exit code, no stack trace, nothing left. */

interface Mistake {
  readonly name: string;
  readonly options?: ProjectOptions;
  readonly args?: (project: Project) => readonly string[];
  readonly prepare?: (project: Project) => void | Promise<void>;
  readonly code: number;
  readonly says: RegExp;
  readonly remedy: RegExp;
}

const swap = (args: readonly string[], from: string, to: string): string[] =>
  args.map((word) => (word === from ? to : word));
const file = (project: Project, name: string): string => join(project.directory, name);

/** Another line in the place of one of config.toml. */
const rewrite =
  (from: RegExp, to: string) =>
  (project: Project): void => {
    const path = file(project, 'config.toml');
    writeFileSync(path, readFileSync(path, 'utf8').replace(from, to));
  };

const mistakes: readonly Mistake[] = [
  {
    name: 'a directory as a key',
    args: ({ args }) => args.map((word, i) => (args[i - 1] === '-i' ? '/tmp' : word)),
    code: 2,
    says: /The identity file \/tmp cannot be read/,
    remedy: /--identity/,
  },
  {
    name: 'a public key as a key',
    args: ({ args }) => args.map((word, i) => (args[i - 1] === '-i' ? `${word}.pub` : word)),
    code: 2,
    says: /The identity file \S+\.pub is a public key/,
    remedy: /private key/,
  },
  {
    name: 'a URL without a scheme',
    prepare: rewrite(/health_check_url = .*/, 'health_check_url = "{host}:8000/health"'),
    code: 2,
    says: /The URL template "\{host\}:8000\/health" is no URL/,
    remedy: /http:\/\/\{host\}/,
  },
  {
    name: 'a dataset that is not there',
    options: { builtin: 'dataset_path = "nope.jsonl"' },
    code: 2,
    says: /Cannot use the dataset nope\.jsonl/,
    remedy: /dataset_path/,
  },
  {
    name: 'results in a file',
    args: ({ args }) => [...args, '--output', 'hosts.txt'],
    code: 2,
    says: /Results cannot be kept in hosts\.txt/,
    remedy: /--output/,
  },
  {
    name: 'results in a place like /proc',
    args: ({ args }) => [...args, '--output', '/proc/nowhere/result'],
    code: 2,
    says: /Results cannot be kept in \/proc\/nowhere/,
    remedy: /--output/,
  },
  {
    name: 'a hostfile that is not there',
    args: ({ args }) => swap(args, 'hosts.txt', 'nowhere.txt'),
    code: 2,
    says: /Cannot read the hostfile nowhere\.txt/,
    remedy: /--hostfile/,
  },
  {
    name: 'an empty hostfile',
    prepare: (project) => writeFileSync(file(project, 'hosts.txt'), '\n# nobody\n'),
    code: 2,
    says: /Not enough hosts \(0\) for 2 nodes per group/,
    remedy: /Add hosts/,
  },
  {
    name: 'three nodes a group of two hosts',
    args: ({ args }) => [...args, '--nodes-per-group', '3'],
    prepare: (project) => writeFileSync(file(project, 'hosts.txt'), 'a\nb\n'),
    code: 2,
    says: /Not enough hosts \(2\) for 3 nodes per group/,
    remedy: /--nodes-per-group/,
  },
  {
    name: 'an unknown engine',
    args: ({ args }) => [...args, '-e', 'scirpt'],
    code: 2,
    says: /Unknown engine 'scirpt' \(did you mean 'script'\?\)/,
    remedy: /This version knows/,
  },
  {
    name: 'an unknown flag',
    args: ({ args }) => [...args, '--hostfil', 'x'],
    code: 2,
    says: /unknown option '--hostfil'/,
    remedy: /Did you mean --hostfile/,
  },
  {
    name: 'a TOML typing error',
    prepare: (project) =>
      writeFileSync(file(project, 'config.toml'), 'engine = "script"\nn_particles = = 3\n'),
    code: 2,
    says: /config\.toml: line 2, column \d+/,
    remedy: /valid TOML/,
  },
  {
    name: 'several wrong keys at once',
    prepare: (project) => {
      const path = file(project, 'config.toml');
      writeFileSync(path, readFileSync(path, 'utf8').replace('iters = 3', 'iters = -1\nttft_sloo = 2'));
    },
    code: 2,
    says: /2 problems[\s\S]*iters: -1 → a whole number, greater than 0 and less than 1000[\s\S]*ttft_sloo: → no such key \(did you mean 'ttft_slo'\?\)/,
    remedy: /Correct them/,
  },
  {
    name: 'a host that cannot be reached',
    args: ({ args }) => swap(args, args[6] ?? '', '9'),
    code: 3,
    says: /Cannot reach 127\.0\.\d+\.\d+ .*connection refused/,
    remedy: /sshd listens there/,
  },
  {
    name: 'a key that is refused',
    args: (project) => swap(project.args, project.args[4] ?? '', file(project, 'other')),
    prepare: async (project) => {
      const { execFileSync } = await import('node:child_process');
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(project, 'other')]);
    },
    code: 3,
    says: /Authentication failed: \S+ refused the login/,
    remedy: /-i and the user with --user/,
  },
  {
    name: 'an unknown host key',
    options: { defaults: '' },
    prepare: (project) => {
      const path = file(project, 'config.toml');
      writeFileSync(
        path,
        readFileSync(path, 'utf8').replace(/known_hosts_file = .*/, 'known_hosts_file = "nobody"'),
      );
    },
    code: 3,
    says: /The host key of \S+ is unknown: ssh-ed25519 SHA256:/,
    remedy: /ssh-keyscan -p \d+ \S+ >> nobody/,
  },
  {
    name: 'a host key that changed',
    prepare: (project) => {
      const path = file(project, 'config.toml');
      const known = /known_hosts_file = "(.*)"/.exec(readFileSync(path, 'utf8'))?.[1] ?? '';
      const lines = readFileSync(known, 'utf8').split('\n');
      const [host = ''] = (lines[0] ?? '').split(' ');
      const other = (lines[1] ?? '').split(' ').slice(1).join(' ');
      writeFileSync(file(project, 'changed'), `${host} ${other}\n`);
      writeFileSync(
        path,
        readFileSync(path, 'utf8').replace(
          /known_hosts_file = .*/,
          `known_hosts_file = "${file(project, 'changed')}"`,
        ),
      );
    },
    code: 3,
    says: /The host key of \S+ has CHANGED/,
    remedy: /ssh-keygen -R/,
  },
  {
    name: 'a start script that is not there',
    prepare: (project) => rmSync(file(project, 'start.sh')),
    code: 3,
    says: /a command was not found.*start\.sh/s,
    remedy: /work_dir/,
  },
  {
    name: 'a start script that is not executable',
    prepare: (project) => chmodSync(file(project, 'start.sh'), 0o644),
    code: 3,
    says: /not executable.*start\.sh|start\.sh.*not executable|Permission denied/s,
    remedy: /chmod \+x/,
  },
  {
    name: 'a start script that returns 1',
    prepare: (project) =>
      writeFileSync(file(project, 'start.sh'), '#!/bin/sh\necho no license >&2\nexit 1\n'),
    code: 3,
    says: /your present configuration does not start: it ended with exit code 1; last line: no license/,
    remedy: /by hand/,
  },
  {
    name: 'a start script that returns 0 and leaves nothing',
    prepare: (project) => writeFileSync(file(project, 'start.sh'), '#!/bin/sh\nexit 0\n'),
    code: 3,
    says: /returned 0 but left no process behind/,
    remedy: /stop_script/,
  },
  {
    name: 'a benchmark on a wrong URL',
    prepare: (project) => {
      const path = file(project, 'config.toml');
      const text = readFileSync(path, 'utf8');
      writeFileSync(
        path,
        `${text}\n[script]\nbase_url = "http://{host}:1"\n`.replace(
          '[[script.target_field]]',
          '[[script.target_field]]',
        ),
      );
      const table = '[script]\nbase_url = "http://{host}:1"\n';
      writeFileSync(path, text.replace('[[script.target_field]]', `${table}[[script.target_field]]`));
    },
    code: 3,
    says: /every request to http:\/\/\S+:1 failed/,
    remedy: /base_url/,
  },
];

function assertClear({ code, stdout, stderr }: Finished, mistake: Mistake): void {
  expect({ code, stderr: stderr.slice(0, 2000), stdout }).toMatchObject({ code: mistake.code });
  expect(stderr).toMatch(mistake.says);
  expect(stderr).toMatch(mistake.remedy);
  expect(stderr).not.toMatch(/\n\s+at .*\(.*:\d+:\d+\)/);
  if (!mistake.name.includes('flag')) expect(stderr.match(/^error: /gm)).toHaveLength(1);
}

describe.skipIf(!realSshd.available)('what a person does wrong', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(2);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  test.each(mistakes)('$name', async (mistake) => {
    await using project = new Project(cluster, mistake.options);
    await mistake.prepare?.(project);
    assertClear(await project.run(mistake.args?.(project) ?? project.args), mistake);
    expect(project.left()).toEqual([]);
  });

  test('a port that is in use', async () => {
    await using project = new Project(cluster, { top: '' });
    const server = createServer().listen(project.servicePort, cluster.hosts[0]!.address);
    try {
      const { code, stderr } = await project.run();
      expect(code).toBe(3);
      expect(stderr).toMatch(/port \d+ of \S+ is in use by something that is not ours/);
      expect(stderr).toMatch(/Stop what listens there/);
    } finally {
      server.close();
    }
  });

  test('--json says the same as one document', async () => {
    await using project = new Project(cluster);
    const { code, stdout } = await project.run([...swap(project.args, 'hosts.txt', 'nowhere.txt'), '--json']);
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      schema: 1,
      status: 'failed',
      exit_code: 2,
      error: {
        class: 'ConfigurationError',
        blame: 'operator',
        message: expect.any(String),
        remedy: expect.any(String),
        details: {},
      },
    });
  });

  test.each([
    ['an unknown flag', ['--json', '--bogus'], /unknown option/],
    ['a flag before the subcommand', ['--json', 'resume', 'nosuch'], /There is no run 'nosuch'/],
  ])('--json is one document for %s as well', async (_name, args, message) => {
    await using project = new Project(cluster);
    const { code, stdout } = await project.run(args);
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({
      status: 'failed',
      exit_code: 2,
      error: { message: expect.stringMatching(message) as string },
    });
  });

  test('learning a host key spares the one before it, also in a file without a last line end', async () => {
    await using project = new Project(cluster);
    const known = file(project, 'known');
    const [first = ''] = readFileSync(cluster.knownHosts, 'utf8').split('\n');
    writeFileSync(known, first);
    rewrite(/known_hosts_file = .*/, `known_hosts_file = "${known}"`)(project);
    expect((await project.run([...project.args, '--accept-new-host-keys', '--quiet'])).code).toBe(0);
    expect(readFileSync(known, 'utf8').split('\n')).toHaveLength(3);
    expect((await project.run([...project.args, '--quiet'])).code).toBe(0);
  });

  test('--dry-run shows everything and starts nothing', async () => {
    await using project = new Project(cluster, { worker: true });
    const { code, stdout } = await project.run([
      ...swap(project.args, project.args[6] ?? '', '9'),
      '--dry-run',
      '--json',
    ]);
    expect(code).toBe(0);
    const dry = JSON.parse(stdout) as {
      plan: { files: unknown[]; stages: { commands: { role: string; argv: string[] }[] }[] };
    };
    expect(dry).toMatchObject({
      schema: 1,
      engine: 'script',
      benchmark: 'builtin',
      seed: 0,
      space: { dimensions: 2 },
      baseline: { params: { MAX_NUM_SEQS: 8 } },
    });
    expect(dry.plan.stages.map(({ commands }) => commands.map(({ role }) => role))).toEqual([
      ['worker'],
      ['master'],
    ]);
    expect(project.witnesses()).toEqual([]);
  });
});
