import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Project, waitFor } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';

describe.skipIf(!realSshd.available)('groups that nobody uses', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(8);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  test('one whose sshd dies is quarantined before it gets a particle, and rejoins when sshd is back', async () => {
    await using project = new Project(cluster, {
      particles: 2,
      iters: 1,
      parallel: 'health_interval = 0.2',
      env: { FAKE_TPOT_MS: 60 },
      concurrency: [4, 8],
    });
    const { done, output } = project.start([...project.args, '--nodes-per-group', '2']);
    await waitFor(() => project.witnesses().length === 2, 'two starts');
    const used = new Set(project.witnesses().map(({ env }) => Number(env['GROUP_ID'])));
    const idle = [0, 1, 2, 3].find((group) => !used.has(group))!;
    const host = cluster.hosts[2 * idle + 1]!;
    host.kill();
    await waitFor(() => output().includes(`group ${idle} is being repaired`), 'the quarantine');
    await host.start();
    await waitFor(() => output().includes(`group ${idle} is back`), 'the return');
    const { code } = await done;
    expect(code).toBe(0);
    expect(new Set(project.witnesses().map(({ env }) => Number(env['GROUP_ID'])))).toEqual(used);
    const group = project.summary().groups.find(({ group_id }) => group_id === idle)!;
    expect(group).toMatchObject({ measured: 0, circuit: 'closed' });
    expect(project.summary().evaluations).toMatchObject({ measured: 2, retried: 0 });
    expect(project.left()).toEqual([]);
  });
});
