import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Project, waitFor } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';
import { expectAllTold, expectNothingLeft, onEvent, toldIn } from './promises.ts';

/** Machines and their SSH servers misbehave. */

const guardianLimit = 15_000;

/** A process that was killed holds its port for a moment. */
async function listenWhenFree(server: Server, { address, port }: { address: string; port: number }) {
  for (let tries = 0; ; tries++) {
    try {
      server.listen(port, address);
      await once(server, 'listening');
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || tries > 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

describe.skipIf(!realSshd.available)('SSH servers', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(4);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());
  const made = (parallel = ''): Project =>
    new Project(cluster, {
      particles: 6,
      iters: 2,
      defaults: 'stop_grace = 1',
      env: { FAKE_START_MS: 150, FAKE_TPOT_MS: 4 },
      parallel: `lease_timeout = 4\n${parallel}`,
    });
  const alone = (project: Project): string[] => [
    ...project.args,
    '--nodes-per-group',
    '1',
    '--events',
    'json',
  ];

  test.each([
    ['connect', undefined],
    ['start', /"groupId":1,"phase":"start"/],
    ['benchmark', /"groupId":1,"phase":"benchmark"/],
    ['stop', /"groupId":1,"phase":"stop"/],
  ])(
    'killed in phase %s, while what they started lives: told elsewhere, and ended without them',
    async (_, moment) => {
      await using project = made();
      const host = cluster.hosts[1]!;
      try {
        const { child, done } = project.start(alone(project));
        if (moment === undefined)
          await waitFor(() => project.hasRun(), 'a run').then(() => host.killServer());
        else onEvent(child.stdout, moment, () => host.killServer());
        const { code, stderr } = await done;
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
        expectAllTold(project, 12);
        expect(project.summary().evaluations.failed).toBe(0);
        await expectNothingLeft(project, guardianLimit);
      } finally {
        await host.start();
      }
    },
  );

  test('all of them down: the run waits, says for what, and stops with everything saved', async () => {
    await using project = made('recovery_timeout = 3');
    const { child, done, output } = project.start(alone(project));
    onEvent(child.stdout, /"trialId":5,.*"phase":"benchmark"/, () => {
      for (const host of cluster.hosts) host.kill();
    });
    try {
      const { code, stderr } = await done;
      expect(code).toBe(3);
      expect(output()).toMatch(/all groups are down; waiting up to 3 s for one to come back: group 0: /);
      expect(stderr).toMatch(/All groups are down, for 3 s/);
      expect(stderr).toMatch(/go on with: optimizer resume/);
      expect(project.journal().at(-1)).toMatchObject({ type: 'run-ended', status: 'failed' });
    } finally {
      for (const host of cluster.hosts) await host.start();
    }
    await expectNothingLeft(project, guardianLimit);
    const resumed = await project.run(['resume', '--output', 'result', '--quiet']);
    expect({ code: resumed.code, stderr: resumed.stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, 12);
    // The machines answer again: it does not sit out the rest of the cool-down, which is a minute.
    const journal = project.journal();
    const since = journal.slice(journal.findIndex(({ type }) => type === 'resumed'));
    const begun = since.find(({ type }) => type === 'started')!;
    expect(Date.parse(begun.at) - Date.parse(since[0]!.at)).toBeLessThan(20_000);
  });

  test('one that accepts and says nothing costs its group, and no more', async () => {
    await using project = made();
    const silent: Server = createServer(() => undefined);
    cluster.hosts[3]!.kill();
    await listenWhenFree(silent, cluster.hosts[3]!);
    try {
      const { done, output } = project.start(alone(project));
      const { code, stderr } = await done;
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(output()).toMatch(/"group.down","groupId":3,.*no answer within|Timed out/i);
      expectAllTold(project, 12);
    } finally {
      silent.close();
      await cluster.hosts[3]!.start();
    }
  });
});

describe.skipIf(!realSshd.available)('an sshd with tight limits', () => {
  test.each([
    ['MaxSessions 4', 2],
    ['MaxStartups 2:70:4', 4],
  ])('%s: backs off, no trial fails', async (line, count) => {
    await using cluster = await realSshd.start(count, undefined, { config: [line] });
    await using project = new Project(cluster, { particles: 6, iters: 1, worker: true });
    // Several groups on each host: many connections to each server at the same time.
    const [first, second] = cluster.hosts.map(({ address }) => address);
    const groups = `${first},${second}`;
    const { code, stderr } = await project.run([
      ...project.args.filter((word, i, all) => word !== '--hostfile' && all[i - 1] !== '--hostfile'),
      ...[
        '--node-string',
        count === 2
          ? groups
          : `${groups}:${cluster.hosts
              .slice(2)
              .map((h) => h.address)
              .join(',')}`,
      ],
      '--quiet',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, 6);
    expect(project.summary().evaluations).toMatchObject({ failed: 0, retried: 0 });
    await expectNothingLeft(project);
  });
});

describe.skipIf(!realSshd.available)('a flaky machine', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(3);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  test('that fails every other time ends up quarantined; its share goes elsewhere', async () => {
    await using project = new Project(cluster, {
      particles: 12,
      iters: 5, // each repair costs it turns: it must have enough of them to fail as often as that
      env: { FAKE_FAULT: 'start-nccl', FAKE_FAULT_EVERY: 2, FAKE_FAULT_GROUP: 1 },
      seqs: [4, 128],
    });
    const { code, stderr } = await project.run([...project.args, '--nodes-per-group', '1', '--quiet']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, 60);
    const { groups, evaluations } = project.summary();
    expect(evaluations.failed).toBe(0);
    expect(evaluations.failed_over).toBeGreaterThanOrEqual(5);
    expect(groups.map(({ circuit }) => circuit)).toEqual(['closed', 'open', 'closed']);
    expect(groups[1]!.measured).toBeLessThan(groups[0]!.measured / 2);
    await expectNothingLeft(project);
  });

  test('whose device memory does not come back is quarantined, the holder named, and comes back when it is free', async () => {
    const memory = join(cluster.directory, 'memory');
    writeFileSync(memory, '1000');
    const smi = join(cluster.bin, 'nvidia-smi');
    writeFileSync(
      smi,
      `#!/bin/sh
case "$*" in
*driver_version*) for id in 0 1; do echo "NVIDIA H100, 550.54.15"; done;;
*compute-apps*) [ "$(cat ${memory})" = 1000 ] || echo "4242, python3, 70000 MiB";;
*) for id in 0 1 2 3 4 5 6 7; do echo "$id, $(cat ${memory}), 81920"; done;;
esac
`,
      { mode: 0o755 },
    );
    try {
      await using project = new Project(cluster, {
        ...{ particles: 4, iters: 1, limitMs: 120_000 },
        defaults: 'device_type = "gpu"\nstop_grace = 1',
        env: { FAKE_TPOT_MS: 4 },
      });
      const { child, done, output } = project.start([
        ...project.args,
        '--nodes-per-group',
        '3',
        '--events',
        'json',
      ]);
      onEvent(child.stdout, /"trialId":0,"groupId":0,"phase":"stop"/, () => writeFileSync(memory, '70000'));
      await waitFor(() => output().includes('"type":"group.down"'), 'the quarantine', 90_000);
      expect(output()).toMatch(
        /85 % of a device's memory on 127\.\S+ is in use, 1 % before the start; held by 4242, python3, 70000 MiB/,
      );
      writeFileSync(memory, '1000');
      const { code, stderr } = await done;
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(output()).toContain('"type":"group.recovered"');
      expectAllTold(project, 4);
      expect(toldIn(project.journal()).every(({ verdict }) => verdict.kind === 'scored')).toBe(true);
      const page = readFileSync(join(project.runDirectory, 'report.html'), 'utf8');
      expect(page).toMatch(/<dt>accelerators<\/dt>\s*<dd>2 × NVIDIA H100, driver 550\.54\.15<\/dd>/);
    } finally {
      rmSync(smi);
    }
  });

  test('secrets reach the service and nobody else: no command line, no file of the run', async () => {
    const secret = 'sk-very-secret-0123456789';
    await using project = new Project(cluster, {
      particles: 2,
      iters: 1,
      env: { FAKE_START_MS: 600, SERVICE_API_KEY: secret },
    });
    const seen = new Set<string>();
    const { done } = project.start([...project.args, '--nodes-per-group', '3']);
    const watch = setInterval(() => {
      for (const line of project.commandLines()) if (line.includes(secret)) seen.add(line);
    }, 5);
    const { code } = await done.finally(() => clearInterval(watch));
    expect(code).toBe(0);
    expect(project.witnesses()[0]?.env['SERVICE_API_KEY']).toBe(secret);
    expect([...seen]).toEqual([]);
    for (const file of project.runFiles()) expect(readFileSync(file, 'utf8'), file).not.toContain(secret);
  });
});
