import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Project, waitFor, type ProjectOptions } from '../support/project.ts';
import { realSlurm, type SlurmCluster } from '../support/slurm.ts';
import type { SshdCluster } from '../support/sshd.ts';
import { expectAllTold, expectNothingLeft, onEvent } from '../chaos/promises.ts';

/** Nodes of a real Slurm: slurmctld, and a slurmd a node. */

describe.skipIf(!realSlurm.available)('Slurm', () => {
  let slurm: SlurmCluster;
  beforeAll(() => {
    slurm = realSlurm.start(4);
    Object.assign(process.env, slurm.env);
  });
  afterEach(() => {
    for (const job of slurm.jobs()) slurm.cancel(job.split(' ')[0]!);
  });
  afterAll(() => {
    slurm[Symbol.dispose]();
    delete process.env['SLURM_CONF'];
  });

  const noSsh = {
    hosts: [],
    knownHosts: '/none',
    identity: '/none',
    port: 1,
    user: undefined,
    onController: [],
  };
  const made = (options: ProjectOptions = {}): Project =>
    new Project(noSsh as unknown as SshdCluster, {
      particles: 4,
      iters: 1,
      defaults: 'stop_grace = 1',
      ...options,
    });
  const args = (...more: readonly string[]): string[] => [
    '-c',
    'config.toml',
    '--nodes-per-group',
    '1',
    ...more,
  ];
  const nodes = (project: Project): string[] =>
    [...new Set(project.witnesses().map(({ env }) => env['SLURMD_NODENAME'] ?? ''))].sort();
  const slow = { particles: 8, env: { FAKE_START_MS: 300, FAKE_TPOT_MS: 10 } } as const;

  test('inside an allocation its nodes are taken, and every command is a step', async () => {
    await using project = made();
    const job = slurm.allocate(2);
    Object.assign(process.env, { SLURM_JOB_ID: job, SLURM_JOB_NODELIST: 'sn[1-2]' });
    try {
      const { code, stderr, stdout } = await project.run(args('--launcher', 'slurm'));
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain(`hosts of Slurm's allocation ${job}: sn[1-2]`);
      const clean = await project.run([...args('--launcher', 'slurm').toSpliced(0, 0, 'clean')]);
      expect(clean).toMatchObject({ code: 0, stdout: 'nothing of ours is running\n' });
    } finally {
      delete process.env['SLURM_JOB_ID'];
      delete process.env['SLURM_JOB_NODELIST'];
    }
    expectAllTold(project, 4);
    expect(nodes(project)).toEqual(['sn1', 'sn2']);
    expect(slurm.jobs()).toEqual([`${job} RUNNING`]); // it is the user's
    await expectNothingLeft(project);
    const outside = await project.run(args('--launcher', 'slurm', '--node-string', 'sn1'));
    expect(outside.code).toBe(2);
    expect(outside.stderr).toMatch(/there is no job[^]*--slurm/);
  });

  test('an allocation is made, waited for, and given back', async () => {
    await using project = made();
    const other = slurm.allocate(4);
    const { child, done } = project.start(args('--slurm', '-N 2 --exclusive --time=5'));
    let said = '';
    child.stderr!.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await waitFor(() => said.includes('waits for its nodes'), 'it tells that it waits');
    expect(slurm.jobs().some((line) => line.endsWith('PENDING'))).toBe(true);
    slurm.cancel(other);
    const { code } = await done;
    expect(code).toBe(0);
    expect(said).toMatch(/note: Slurm's job \d+ has sn\[\d-\d\]/);
    expectAllTold(project, 4);
    expect(nodes(project)).toHaveLength(2);
    expect(slurm.jobs()).toEqual([]);
    await expectNothingLeft(project);
    const refused = await project.run(args('--slurm', '-N 2 --partition=nowhere'));
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/Slurm makes no allocation: .*invalid partition/i);
  });

  test('an allocation that is taken away: the run goes on in the next one, and loses nothing', async () => {
    await using project = made({ ...slow, parallel: 'slurm = "-N 2 --exclusive --time=5"' });
    const { child, done, output } = project.start(args('--events', 'json'));
    onEvent(child.stdout, /"type":"trial.finished","trialId":2/, () => {
      for (const line of slurm.jobs()) slurm.cancel(line.split(' ')[0]!);
    });
    const { code, stderr } = await done;
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/^note: Slurm's job/) as string,
    });
    expect(output()).toMatch(/Slurm has ended job \d+: .*; the run goes on in the next allocation/);
    expectAllTold(project, 8);
    expect(project.journal().filter(({ type }) => type === 'resumed')).toHaveLength(1);
    expect(slurm.jobs()).toEqual([]);
    await expectNothingLeft(project, 25_000);
  });

  test('a controller that is killed holds no nodes and leaves no service', async () => {
    await using project = made(slow);
    const { child, done } = project.start(args('--slurm', '-N 2 --exclusive --time=5', '--events', 'json'));
    onEvent(child.stdout, /"phase":"benchmark"/, () => child.kill('SIGKILL'));
    await done;
    await waitFor(
      () => slurm.jobs().every((line) => line.endsWith('COMPLETING')),
      'the nodes are given back',
    );
    await expectNothingLeft(project, 25_000);
  });

  test('Ctrl-C while waiting', async () => {
    await using project = made();
    slurm.allocate(4);
    const { child, done } = project.start(args('--slurm', '-N 2 --exclusive --time=5'));
    child.stderr!.on('data', (chunk: Buffer) => {
      if (chunk.toString().includes('waits for its nodes')) child.kill('SIGINT');
    });
    const { code, stderr } = await done;
    expect(code).toBe(130);
    expect(stderr).toMatch(/interrupted by SIGINT/);
    expect(slurm.jobs()).toHaveLength(1);
  });
});
