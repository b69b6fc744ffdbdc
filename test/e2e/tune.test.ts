import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { toldIn } from '../chaos/promises.ts';
import { Project, waitFor } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';

const users = realSshd.ordinaryUser === undefined ? [undefined] : [undefined, realSshd.ordinaryUser];

describe.skipIf(!realSshd.available).each(users)('a study over eight sshd, as %s', (user) => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(8, user);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  test('as it comes: loads are searched on running services, the answer is confirmed, nothing is left', async () => {
    const top = 'load_search = "slo"\nload_probes = 3\nconfirm_runs = 2';
    await using project = new Project(cluster, { top, particles: 3, iters: 1, env: { FAKE_START_MS: 50 } });
    const { code, stdout, stderr } = await project.run([...project.args, '--nodes-per-group', '4']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(project.left()).toEqual([]);
    const { starts, trust, baseline, best, canary } = project.summary();
    // The services say themselves how often they were started.
    const masters = project.witnesses().filter(({ role, event }) => role === 'master' && event === 'start');
    expect(masters).toHaveLength(starts.made);
    const told = toldIn(project.journal());
    const curves = told.flatMap(({ curve }) => (curve === undefined ? [] : [curve.length]));
    expect(curves).toHaveLength(3);
    expect(Math.max(...curves)).toBe(3);
    expect(starts.saved).toBeGreaterThanOrEqual(curves.reduce((sum, n) => sum + n - 1, 0));
    expect(baseline?.params).toEqual({ MAX_NUM_SEQS: 8, CONCURRENCY: 8 });
    expect(trust).toMatchObject({ runs: 2 });
    // What runs today may be the best on a machine that is busy: it does not beat itself.
    const isPresent = JSON.stringify(best?.params) === JSON.stringify(baseline?.params);
    expect(trust?.beats_baseline === null).toBe(isPresent);
    expect(canary).toMatchObject({ prompts: 20, agreement: 1 });
    expect(stdout).toContain('Measured again 2 times');
  });

  test.each([
    { probes: 4, starts: 2 },
    { probes: 2, starts: 1 },
  ])(
    'a load that ends the service is out, what it served before counts ($probes probes)',
    async ({ probes, starts }) => {
      const top = `load_search = "slo"\nload_probes = ${probes}\nconfirm_runs = 0`;
      // The present load of 8 doubles to 16, which is too much.
      const env = { FAKE_START_MS: 50, FAKE_DIES_OF: 12 };
      await using project = new Project(cluster, { top, particles: 1, iters: 1, env });
      const { code, stderr } = await project.run([...project.args, '--nodes-per-group', '8']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(project.left()).toEqual([]);
      const [told] = toldIn(project.journal());
      const served = told?.curve?.map(({ load, error }) => [load['CONCURRENCY'], error === null]);
      expect(served?.slice(0, 2)).toEqual([
        [8, true],
        [16, false],
      ]);
      expect(told?.curve?.[1]?.error).toContain('OutOfMemory');
      expect(told?.verdict.kind).toBe('scored');
      expect(told?.as_is?.params['CONCURRENCY']).toBe(8);
      const masters = project.witnesses().filter(({ role, event }) => role === 'master' && event === 'start');
      // Another one is worth it only where there are loads left to try.
      expect(told?.starts).toBe(starts);
      expect(masters).toHaveLength(starts);
      expect(project.summary().starts.made).toBe(starts);
    },
  );

  test('one start a trial, everything told, nothing left', async () => {
    await using project = new Project(cluster, {
      worker: true,
      env: { FAKE_START_MS: 50 },
    });
    const { code, stdout, stderr } = await project.run([...project.args, '--nodes-per-group', '2']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/best configuration within the SLOs|present configuration is the best/);
    expect(project.left()).toEqual([]);

    const summary = project.summary();
    const { evaluations: e } = summary;
    expect(summary).toMatchObject({
      schema: 1,
      status: 'completed',
      exit_code: 0,
      engine: 'script',
      benchmark: 'builtin',
    });
    expect(e.measured + e.reused + e.infeasible + e.failed).toBe(12);
    expect(e.failed).toBe(0);
    expect(summary.groups.map(({ circuit }) => circuit)).toEqual(['closed', 'closed', 'closed', 'closed']);
    expect(summary.baseline?.params).toEqual({ MAX_NUM_SEQS: 8, CONCURRENCY: 8 });
    expect(summary.best).not.toBeNull();

    // The witness file is written by the services themselves.
    const rows = new Map(project.rows().map((row) => [row['trial_id'], row]));
    const starts = project.witnesses();
    const masters = starts.filter(({ role }) => role === 'master');
    expect(masters).toHaveLength(e.measured);
    for (const { env, config, argv } of masters) {
      const row = rows.get(env['OPTIMIZER_TRIAL_ID']);
      expect(config.env).toEqual({
        MAX_NUM_SEQS: Number(row?.['MAX_NUM_SEQS']),
        CONCURRENCY: Number(row?.['CONCURRENCY']),
      });
      expect(env['MAX_NUM_SEQS']).toBe(row?.['MAX_NUM_SEQS']);
      expect(env['GROUP_ID']).toBe(row?.['group_id']);
      expect(argv).toEqual(['--config', expect.stringMatching(/config\.g\d\.r0\.json$/)]);
      const group = Number(env['GROUP_ID']);
      const hosts = cluster.hosts.slice(group * 2, group * 2 + 2).map(({ address }) => address);
      expect(env).toMatchObject({
        NNODES: '2',
        NODE_RANK: '0',
        MASTER_ADDR: hosts[0],
        GROUP_HOSTS: hosts.join(','),
      });
      expect(env).toMatchObject({
        ASCEND_RT_VISIBLE_DEVICES: '0,1,2,3,4,5,6,7',
        OPTIMIZER_RUN_ID: summary.run_id,
      });
      const worker = starts.find(
        (one) => one.role === 'worker' && one.env['OPTIMIZER_TRIAL_ID'] === env['OPTIMIZER_TRIAL_ID'],
      );
      expect(worker?.env).toMatchObject({
        NODE_RANK: '1',
        MASTER_ADDR: hosts[0],
        MASTER_PORT: env['MASTER_PORT'],
      });
    }
    expect(new Set(masters.map(({ env }) => env['OPTIMIZER_TRIAL_ID'])).size).toBe(masters.length);
    const launch = readFileSync(join(project.runDirectory, 'best/launch.sh'), 'utf8');
    expect(launch).toContain(`MAX_NUM_SEQS=${summary.best?.params['MAX_NUM_SEQS']}`);
  });

  test('the four groups work at the same time, nearly all the time', async () => {
    await using project = new Project(cluster, {
      iters: 6,
      env: { FAKE_TPOT_MS: 40 },
      seqs: [8, 64], // evaluations of about the same length: the tail of the last ones is not the schedule's fault
      concurrency: [9, 11],
    });
    const { code } = await project.run([...project.args, '--quiet']);
    expect(code).toBe(0);
    const stops = new Map(project.witnesses('stop').map(({ pid, at }) => [pid, at]));
    // A program that is being loaded is at work: how long that takes is the machine's.
    const lives = project.witnesses().map(({ pid, began, env }) => ({
      group: env['GROUP_ID'],
      from: began,
      to: stops.get(pid) ?? NaN,
    }));
    const wall = Math.max(...lives.map(({ to }) => to)) - Math.min(...lives.map(({ from }) => from));
    const alive = lives.reduce((sum, { from, to }) => sum + to - from, 0);
    expect(alive / (4 * wall)).toBeGreaterThanOrEqual(0.8);
    const groupsAt = lives.map(
      ({ from: t }) => new Set(lives.filter(({ from, to }) => from <= t && t < to).map(({ group }) => group)),
    );
    expect(Math.max(...groupsAt.map(({ size }) => size))).toBe(4);
    expect(project.summary().utilization).toBeGreaterThan(0.8);
  });

  test('a configuration that runs out of memory is infeasible, and not tried again', async () => {
    await using project = new Project(cluster, {
      env: { FAKE_OOM_ABOVE: 40 },
    });
    const { code } = await project.run([...project.args, '--quiet']);
    expect(code).toBe(0);
    const rows = project.rows();
    const tooLarge = rows.filter((row) => Number(row['MAX_NUM_SEQS']) > 40);
    expect(tooLarge.length).toBeGreaterThan(0);
    for (const row of tooLarge) expect(row['error']).toMatch(/CUDA out of memory/);
    const starts = project.witnesses().map(({ env }) => env['OPTIMIZER_TRIAL_ID']);
    expect(new Set(starts).size).toBe(starts.length);
    expect(project.summary().evaluations.infeasible).toBe(
      tooLarge.filter((row) => row['real_evaluation'] === 'True').length,
    );
    expect(project.left()).toEqual([]);
  });

  test('--json prints one document, --events json one event a line', async () => {
    await using project = new Project(cluster, { top: 'algorithm = "random"' });
    const { stdout } = await project.run([...project.args, '--json']);
    expect((JSON.parse(stdout) as { schema: number }).schema).toBe(1);
    const streamed = await project.run([...project.args, '--events', 'json']);
    const events = streamed.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; trialId: number; groupId: number });
    expect(events.filter(({ type }) => type === 'trial.finished')).toHaveLength(12);
    // Whoever follows a group by its events sees one trial at a time, although its next one is asked before the
    // last one is durable.
    const busy = new Map<number, number>();
    for (const { type, trialId, groupId } of events) {
      if (type === 'trial.finished' && busy.get(groupId) === trialId) busy.delete(groupId);
      if (type !== 'trial.started') continue;
      expect(busy.get(groupId)).toBeUndefined();
      busy.set(groupId, trialId);
    }
    expect(events.at(-1)?.type).toBe('run.ended');
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s stops everything, saves, and the run goes on later',
    async (signal) => {
      await using project = new Project(cluster, { env: { FAKE_TPOT_MS: 5 } });
      const { child, done } = project.start();
      await waitFor(() => project.witnesses().length >= 6, 'six starts');
      child.kill(signal);
      const { code, stderr } = await done;
      expect(code).toBe(130);
      expect(stderr).toMatch(/optimizer resume \d+-[0-9a-f]+/);
      expect(project.left()).toEqual([]);
      expect(project.summary().status).toBe('interrupted');
      const starts = project.witnesses().length;
      const dry = await project.run(['--load-breakpoint', '--dry-run', '--output', 'result']);
      expect(dry).toMatchObject({
        code: 0,
        stderr: '',
        stdout: expect.stringContaining('MAX_NUM_SEQS') as string,
      });
      expect(project.witnesses()).toHaveLength(starts);
      const resumed = await project.run(['resume', '--output', 'result']);
      expect({ code: resumed.code, stderr: resumed.stderr }).toEqual({ code: 0, stderr: '' });
      const told = project
        .journal()
        .flatMap((entry) => (entry.type === 'told' ? [entry.record.trial_id] : []));
      expect([...told].sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, i) => i));
      expect(project.left()).toEqual([]);
    },
  );
});
