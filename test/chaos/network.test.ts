import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Project, waitFor } from '../support/project.ts';
import { namespacesAreAvailable, startNamespaces, type Namespaces } from '../support/netns.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';
import { expectAllTold, expectNothingLeft, onEvent, toldIn } from './promises.ts';

/** Links are cut, without a FIN and without anybody being told. Hosts have addresses and networks of their own. */

const available = realSshd.available && namespacesAreAvailable();
/** The lease, the grace, and a look a second at both. */
const guardianLimit = 15_000;

describe.skipIf(!available)('a link that is cut', () => {
  let network: Namespaces;
  let cluster: SshdCluster;
  beforeAll(async () => {
    network = startNamespaces(4);
    cluster = await realSshd.start(4, undefined, { network });
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
    network[Symbol.dispose]();
  });
  const made = (options: ConstructorParameters<typeof Project>[1] = {}): Project =>
    new Project(cluster, {
      particles: 6,
      iters: 2,
      defaults: 'stop_grace = 1',
      env: { FAKE_START_MS: 300, FAKE_TPOT_MS: 8 },
      ...options,
      parallel: `lease_timeout = 5\n${options.parallel ?? ''}`,
    });

  test('while the run connects: its group is left out, and all is measured elsewhere', async () => {
    await using project = made();
    const { done, output } = project.start([...project.args, '--nodes-per-group', '1', '--events', 'json']);
    await waitFor(() => project.hasRun(), 'a run');
    network.cut(1);
    try {
      const { code, stderr } = await done;
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(output()).toContain('"type":"group.down","groupId":1');
      expectAllTold(project, 12);
      expect(project.summary().evaluations.failed).toBe(0);
      await expectNothingLeft(project, guardianLimit);
    } finally {
      network.heal(1);
    }
  });

  test.each([
    ['start', /"trial.phase","trialId":\d+,"groupId":1,"phase":"start"/, {}],
    ['benchmark', /"trial.phase","trialId":\d+,"groupId":1,"phase":"benchmark"/, {}],
    // It does not hear TERM: a stop is over in 20 ms, and the cut would often come after it.
    ['stop', /"trial.phase","trialId":\d+,"groupId":1,"phase":"stop"/, { FAKE_DEAF: 1 }],
  ])(
    'in phase %s: found within 20 s, measured elsewhere, and the node ends what it has by itself',
    async (_, moment, env) => {
      await using project = made({ env: { FAKE_START_MS: 300, FAKE_TPOT_MS: 8, ...env } });
      const { child, done, output } = project.start([
        ...[...project.args, '--nodes-per-group', '1', '--events', 'json'],
      ]);
      let [cutAt, foundAt] = [0, 0];
      onEvent(child.stdout, moment, () => {
        network.cut(1);
        cutAt = performance.now();
      });
      onEvent(child.stdout, /"type":"group.down","groupId":1/, () => (foundAt = performance.now()));
      try {
        const { code, stderr } = await done;
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
        expect(output()).toContain('"type":"group.down","groupId":1');
        expect(foundAt - cutAt).toBeLessThan(20_000);
        expectAllTold(project, 12);
        expect(project.summary().evaluations.failed).toBe(0);
        // The link is still down: nobody can end anything there but the node itself.
        await expectNothingLeft(project, guardianLimit);
      } finally {
        network.heal(1);
      }
    },
  );

  test.each(['start', 'benchmark'])(
    'in phase %s and back after 30 s: the group is repaired and measures again',
    async (phase) => {
      await using project = made({ particles: 3, iters: 1 });
      const { child, done, output } = project.start([
        ...[...project.args, '--nodes-per-group', '4', '--events', 'json'],
      ]);
      onEvent(child.stdout, new RegExp(`"trialId":1,"groupId":0,"phase":"${phase}"`), () => {
        network.cut(0);
        setTimeout(() => network.heal(0), 30_000);
      });
      const { code, stderr } = await done;
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(output()).toContain('all groups are down; waiting up to 300 s');
      expect(output()).toContain('"type":"group.recovered","groupId":0');
      expectAllTold(project, 3);
      expect(toldIn(project.journal()).every(({ verdict }) => verdict.kind === 'scored')).toBe(true);
      await expectNothingLeft(project);
    },
  );

  test('for a moment only does no harm', async () => {
    await using project = made({ particles: 3, iters: 1 });
    const { child, done } = project.start([...project.args, '--nodes-per-group', '4', '--events', 'json']);
    onEvent(child.stdout, /"trialId":1,"groupId":0,"phase":"benchmark"/, () => {
      network.cut(2); // a worker
      setTimeout(() => network.heal(2), 2000);
    });
    const { code, stderr } = await done;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(project.summary().evaluations).toMatchObject({ measured: 3, retried: 0 });
    await expectNothingLeft(project);
  });

  test('to a worker while its master lives: the trial goes elsewhere, both are quiet', async () => {
    await using project = made({ worker: true, particles: 4, iters: 2 });
    const { child, done } = project.start([...project.args, '--nodes-per-group', '2', '--events', 'json']);
    onEvent(child.stdout, /"groupId":1,"phase":"benchmark"/, () => network.cut(3));
    try {
      const { code, stderr } = await done;
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expectAllTold(project, 8);
      expect(project.summary().evaluations.failed).toBe(0);
      await expectNothingLeft(project, guardianLimit);
    } finally {
      network.heal(3);
    }
  });

  test('and the optimizer is killed: the nodes are quiet all the same', async () => {
    await using project = made({ worker: true });
    const { child, done } = project.start([...project.args, '--nodes-per-group', '2', '--events', 'json']);
    await waitFor(() => project.witnesses().length >= 4, 'services on all nodes');
    for (const index of [0, 1, 2, 3]) network.cut(index);
    child.kill('SIGKILL');
    await done;
    try {
      expect(project.left().length).toBeGreaterThan(0);
      await expectNothingLeft(project, guardianLimit);
    } finally {
      for (const index of [0, 1, 2, 3]) network.heal(index);
    }
  });
});
