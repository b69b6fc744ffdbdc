import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createRng } from '../../src/base/rng.ts';
import { paramsKey } from '../../src/core/space/space.ts';
import { Project, waitFor } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';

/** Breaks things in the middle of a run and looks at what is told, what is measured, and what is left. */

const trials = Array.from({ length: 12 }, (_, i) => i);
const told = (project: Project): number[] =>
  project
    .journal()
    .flatMap((entry) => (entry.type === 'told' ? [entry.record.trial_id as number] : []))
    .sort((a, b) => a - b);

describe.skipIf(!realSshd.available)('a group that goes down', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(8);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  /** What the run says when the moment has come to kill the master of group 1. */
  const moments: readonly { readonly at: string; readonly moment?: RegExp; readonly delay?: number }[] = [
    { at: 'connect' },
    { at: 'write', moment: /"type":"trial.started","trialId":\d+,"groupId":1/ },
    { at: 'start', moment: /"type":"trial.phase","trialId":\d+,"groupId":1,"phase":"start"/ },
    { at: 'probe', moment: /"type":"trial.phase","trialId":\d+,"groupId":1,"phase":"start"/, delay: 150 },
    { at: 'benchmark', moment: /"type":"trial.phase","trialId":\d+,"groupId":1,"phase":"benchmark"/ },
    { at: 'stop', moment: /"type":"trial.phase","trialId":\d+,"groupId":1,"phase":"stop"/ },
  ];

  test.each(moments)(
    'at $at: every particle is told, the lost one elsewhere, the circuit is open',
    async ({ at, moment, delay = 0 }) => {
      await using project = new Project(cluster, { env: { FAKE_START_MS: 100, FAKE_TPOT_MS: 4 } });
      const host = cluster.hosts[2]!;
      if (moment === undefined) host.kill();
      try {
        const { child, done } = project.start([...project.args, '--events', 'json']);
        let seen = '';
        let doomed = false;
        child.stdout?.on('data', (chunk: Buffer) => {
          seen += chunk.toString();
          if (moment?.test(seen) !== true || doomed) return;
          doomed = true;
          setTimeout(() => host.kill(), delay);
        });
        const { code, stderr } = await done;
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
        expect(told(project)).toEqual(trials);
        const summary = project.summary();
        expect(summary.evaluations.failed).toBe(0);
        expect(summary.groups.map(({ circuit }) => circuit)).toEqual(['closed', 'open', 'closed', 'closed']);
        if (moment !== undefined && at !== 'stop') expect(summary.evaluations.failed_over).toBeGreaterThan(0);
        expect(summary.evaluations.failed_over).toBeLessThanOrEqual(2);
      } finally {
        await host.start();
      }
      // The dead node keeps what ran on it; the next run, or clean, ends it.
      const cleaned = await project.run(['clean', ...project.args]);
      expect(cleaned.code).toBe(0);
      expect(project.left()).toEqual([]);
    },
  );

  test('and comes back: it is repaired, and goes on with new connections', async () => {
    await using project = new Project(cluster, { top: '', env: { FAKE_TPOT_MS: 6 } });
    const host = cluster.hosts[0]!;
    const { child, done } = project.start([...project.args, '--nodes-per-group', '8', '--events', 'json']);
    let [seen, killed] = ['', false];
    child.stdout?.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
      if (killed || !seen.includes('"phase":"benchmark"')) return;
      killed = true;
      host.kill();
      setTimeout(() => void host.start(), 100);
    });
    const { code, stderr } = await done;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(seen).toContain('"type":"group.recovered"');
    expect(told(project)).toEqual(trials);
    expect(project.summary().evaluations.retried).toBe(1);
    expect(project.summary().groups[0]?.circuit).toBe('closed');
    expect(project.left()).toEqual([]);
  });
});

describe.skipIf(!realSshd.available)('kill -9 of the optimizer', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(4);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  const seeds = Array.from({ length: Number(process.env['OPTIMIZER_KILL_SEEDS'] ?? 20) }, (_, i) => i);

  test.each(seeds)(
    'at moment %i, then resume: nothing twice, everything told, nothing left',
    async (seed) => {
      await using project = new Project(cluster, { env: { FAKE_START_MS: 40 } });
      const { child, done } = project.start();
      await waitFor(() => project.witnesses().length > 0, 'a first start');
      await new Promise((wait) => setTimeout(wait, createRng(seed).next() * 1800));
      child.kill('SIGKILL');
      await done;
      let measuredBefore = 0;
      try {
        measuredBefore = told(project).length;
      } catch {
        // the last line was torn; resume cuts it off
      }
      const { code, stderr } = await project.run(['resume', '--output', 'result']);
      if (measuredBefore === 12 && code === 2) return; // it was complete by then
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(told(project)).toEqual(trials);
      const records = project.journal().flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
      const own = records
        .filter((record) => record.reused_from === null)
        .map((record) => paramsKey(record.params));
      expect(new Set(own).size).toBe(own.length);
      expect(project.left()).toEqual([]);
      expect(project.rows()).toHaveLength(12);
    },
  );

  test('a new run refuses to start beside what is left, and `clean` ends it', async () => {
    await using project = new Project(cluster, { env: { FAKE_START_MS: 40, FAKE_TPOT_MS: 20 } });
    const { child, done } = project.start();
    await waitFor(() => project.witnesses().length >= 2, 'two starts');
    child.kill('SIGKILL');
    await done;
    const left = project.left();
    expect(left.length).toBeGreaterThan(0);
    const { code, stderr } = await project.run();
    expect(code).toBe(3);
    expect(stderr).toMatch(/run \d+-[0-9a-f]+, which is gone, left processes on 127\./);
    expect(stderr).toMatch(/optimizer clean/);
    expect(project.left()).toEqual(left);
    // As somebody who has nothing but the list of hosts would.
    const hosts = ['--hostfile', 'hosts.txt', ...project.args.slice(3, 7), '--accept-new-host-keys'];
    const cleaned = await project.run(['clean', ...hosts, '-c', 'config.toml']);
    expect(cleaned).toMatchObject({ code: 0, stdout: expect.stringMatching(/ended/) as string });
    expect(project.left()).toEqual([]);
  });
});

describe.skipIf(!realSshd.available)('a service that crashes under load', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(4);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  test('is the fault of its configuration, also where a script started it and another one stops it', async () => {
    await using project = new Project(cluster, {
      env: { FAKE_CRASH_ABOVE: 40 },
      defaults: 'stop_script = "/bin/true"',
      forks: true,
    });
    const { code, stderr } = await project.run([...project.args, '--quiet']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const crashed = project.rows().filter((row) => Number(row['MAX_NUM_SEQS']) > 40);
    expect(crashed.length).toBeGreaterThan(0);
    for (const row of crashed) expect(row['error']).not.toBe('');
    expect(project.summary().best?.params['MAX_NUM_SEQS']).toBeLessThanOrEqual(40);
    expect(project.left()).toEqual([]);
  });
});
