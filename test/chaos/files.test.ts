import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Project, waitFor } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';
import { expectAllTold, expectNothingLeft } from './promises.ts';

/** Disks that are full, and directories that are not ours. Mounts and other users need root. */

const isRoot = process.getuid?.() === 0;
const cli = resolve(import.meta.dirname, '../../dist/cli/main.js');

/** A file system of so many KiB. */
function smallDisk(path: string, kibibytes: number): Disposable & { fill(): void; makeRoom(): void } {
  mkdirSync(path, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kibibytes}k,mode=0777`, 'tmpfs', path]);
  const ballast = join(path, 'ballast');
  return {
    fill() {
      try {
        writeFileSync(ballast, Buffer.alloc(kibibytes * 1024));
      } catch {
        // as much as there was room for
      }
    },
    makeRoom: () => rmSync(ballast, { force: true }),
    [Symbol.dispose]: () => execFileSync('umount', ['-l', path]),
  };
}

describe.skipIf(!realSshd.available || !isRoot)('disks', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(2);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  test('full on the controller: the run pauses, says so, and loses nothing', async () => {
    await using project = new Project(cluster, { particles: 6, iters: 2, env: { FAKE_TPOT_MS: 3 } });
    using disk = smallDisk(join(project.directory, 'result'), 2048);
    const { done, output } = project.start([...project.args, '--nodes-per-group', '1']);
    await waitFor(
      () => project.hasRun() && project.journal().some(({ type }) => type === 'told'),
      'an answer',
    );
    disk.fill();
    await waitFor(() => output().includes('PAUSED: no room for'), 'the pause', 30_000);
    const told = project.journal().filter(({ type }) => type === 'told').length;
    await new Promise((later) => setTimeout(later, 1500));
    expect(project.journal().filter(({ type }) => type === 'told')).toHaveLength(told);
    disk.makeRoom();
    const { code, stderr } = await done;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(output()).toContain('there is room for the journal again');
    expectAllTold(project, 12);
    await expectNothingLeft(project);
  });

  test('full on the controller, and interrupted then: nothing is left, and the run goes on later', async () => {
    await using project = new Project(cluster, { particles: 6, iters: 2, env: { FAKE_TPOT_MS: 3 } });
    using disk = smallDisk(join(project.directory, 'result'), 2048);
    const { child, done, output } = project.start([...project.args, '--nodes-per-group', '1']);
    await waitFor(
      () => project.hasRun() && project.journal().some(({ type }) => type === 'told'),
      'an answer',
    );
    disk.fill();
    await waitFor(() => output().includes('PAUSED: no room for'), 'the pause', 30_000);
    child.kill('SIGINT');
    const { code, stderr } = await done;
    expect([3, 130]).toContain(code);
    expect(stderr).not.toMatch(/Internal error/);
    await expectNothingLeft(project);
    disk.makeRoom();
    const resumed = await project.run(['resume', '--output', 'result', '--quiet']);
    expect({ code: resumed.code, stderr: resumed.stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, 12);
  });

  test('full on a node: its group is out, with the place and the remedy; nothing is left', async () => {
    await using project = new Project(cluster, { particles: 4, iters: 1 });
    mkdirSync(join(project.directory, 'scratch'));
    using disk = smallDisk(join(project.directory, 'scratch'), 64);
    disk.fill();
    const { code, stderr } = await project.run([...project.args, '--nodes-per-group', '2']);
    expect(code).toBe(3);
    expect(stderr).toMatch(/scratch/);
    expect(stderr).toMatch(/free space|Make room/);
    await expectNothingLeft(project);
  });
});

describe.skipIf(!realSshd.available || !isRoot)('a work directory of somebody else on a node', () => {
  test('is refused before anything is written there, and left as it is', async () => {
    await using cluster = await realSshd.start(1);
    await using project = new Project(cluster, { particles: 2, iters: 1 });
    const runs = join(project.directory, 'scratch', 'runs');
    mkdirSync(runs, { recursive: true, mode: 0o777 });
    chmodSync(runs, 0o777);
    chownSync(runs, 65534, 65534);
    const { code, stderr } = await project.run([...project.args, '--nodes-per-group', '1']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/scratch\/runs belongs to another user/);
    expect(stderr).toMatch(/→ Give another work_dir/);
    expect(readdirSync(runs)).toEqual([]);
    expect(project.witnesses()).toEqual([]);
    await expectNothingLeft(project);
  });
});

describe.skipIf(!isRoot)('directories, as the user nobody', () => {
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] as const;
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'optimizer-nobody-'));
    chmodSync(directory, 0o777);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  async function run(workDir: string, output: string): Promise<{ code: number | null; stderr: string }> {
    const config = join(directory, 'config.toml');
    writeFileSync(
      config,
      `engine = "script"
n_particles = 2
iters = 1
output = "${output}"
[parallel]
retry_count = 0
[parallel.defaults]
start_script = "/bin/false"
work_dir = "${workDir}"
health_check_url = "http://127.0.0.1:1/health"
[[script.target_field]]
name = "MAX_NUM_SEQS"
config_position = "env"
min = 1
max = 8
dtype = "int"
value = 4
`,
      { mode: 0o644 },
    );
    const [program, ...words] = nobody;
    const child = spawn(program, [...words, process.execPath, cli, '-c', config], {
      cwd: directory,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env['PATH'], HOME: directory },
    });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const code = await new Promise<number | null>((end) => child.on('close', end));
    return { code, stderr };
  }

  const own = (name: string, mode: number, uid: number): string => {
    const path = join(directory, name);
    mkdirSync(path, { recursive: true });
    chownSync(path, uid, uid);
    chmodSync(path, mode);
    return path;
  };

  test('a work directory that is read-only is refused with its name', async () => {
    const { code, stderr } = await run(own('readonly', 0o555, 65_534), join(directory, 'out'));
    expect(code).toBe(2);
    expect(stderr).toMatch(/The work directory \S+readonly of 127\.0\.0\.1 cannot be used/);
    expect(stderr).toMatch(/→ Give another work_dir/);
  });

  test('one whose runs belong to somebody else is refused, though it may be written', async () => {
    const path = own('others', 0o777, 0);
    own('others/runs', 0o777, 0);
    const { code, stderr } = await run(path, join(directory, 'out'));
    expect(code).toBe(2);
    expect(stderr).toMatch(/belongs to another user/);
  });

  test('results that cannot be kept are refused before anything starts', async () => {
    const { code, stderr } = await run(own('work', 0o700, 65_534), join(own('closed', 0o555, 65_534), 'out'));
    expect(code).toBe(2);
    expect(stderr).toMatch(/Results cannot be kept in \S+closed/);
  });

  test('what is written is for its owner alone', async () => {
    const work = own('private', 0o755, 65_534);
    const { code } = await run(work, join(directory, 'private-out'));
    expect(code).toBe(3); // /bin/false serves nothing
    const modes = execFileSync('find', [work, '-mindepth', '1', '-printf', '%m %p\\n'], { encoding: 'utf8' });
    for (const line of modes.trim().split('\n')) expect(line).toMatch(/^(600|700) /);
    expect(statSync(join(directory, 'private-out/runs')).mode & 0o077).toBe(0);
  });
});
