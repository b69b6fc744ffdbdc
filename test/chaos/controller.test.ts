import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Project, waitFor } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';
import { expectAllTold, expectNothingLeft, onEvent } from './promises.ts';

/** The optimizer itself is stopped, killed, left alone, or started twice. */

const trials = 8;
/** What it says when it is in a phase. */
const phases: readonly (readonly [string, RegExp | undefined])[] = [
  ['connect', undefined],
  ['start', /"phase":"start"/],
  ['benchmark', /"phase":"benchmark"/],
  ['stop', /"phase":"stop"/],
];
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGKILL'] as const;
/** The lease, the grace, and a look a second at both. */
const guardianLimit = 12_000;

describe.skipIf(!realSshd.available)('the controller', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(4);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());
  const made = (keys = ''): Project =>
    new Project(cluster, {
      particles: 4,
      iters: 2,
      worker: true,
      parallel: `lease_timeout = 3\n${keys}`,
      defaults: 'stop_grace = 1',
      env: { FAKE_START_MS: 150, FAKE_TPOT_MS: 4 },
    });

  const cases = phases.flatMap(([phase, moment]) => signals.map((signal) => ({ phase, moment, signal })));
  test.each(cases)('$signal in phase $phase: a quiet cluster, and the run goes on later', async (row) => {
    const { phase, moment, signal } = row;
    await using project = made();
    const { child, done } = project.start([...project.args, '--events', 'json']);
    let at = 0;
    const strike = (): void => {
      at = performance.now();
      child.kill(signal);
    };
    if (moment === undefined) void waitFor(() => project.hasRun(), 'a run').then(strike);
    else onEvent(child.stdout, moment, strike);
    const { code } = await done;
    if (signal === 'SIGKILL') {
      // Nobody is there any more: the nodes look after themselves.
      await expectNothingLeft(project, guardianLimit);
    } else {
      expect(code).toBe(130);
      expect(performance.now() - at).toBeLessThan(5000 + 1000);
      await expectNothingLeft(project, 500);
    }
    if (phase === 'connect' && !project.hasRun()) return;
    const resumed = await project.run(['resume', '--output', 'result', '--quiet']);
    expect({ code: resumed.code, stderr: resumed.stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, trials);
    await expectNothingLeft(project);
  });

  test('its terminal is closed: everything is ended and saved', async () => {
    await using project = made();
    const { terminal, output } = project.inTerminal([...project.args, '--events', 'json']);
    await waitFor(() => output().includes('"phase":"benchmark"'), 'a benchmark');
    terminal.kill('SIGKILL');
    await waitFor(() => project.journal().at(-1)?.type === 'run-ended', 'the end of the run', 10_000);
    await expectNothingLeft(project, 3000);
    expect(project.journal().at(-1)).toMatchObject({ status: 'interrupted' });
    const resumed = await project.run(['resume', '--output', 'result', '--quiet']);
    expect({ code: resumed.code, stderr: resumed.stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, trials);
  });

  test('a second Ctrl-C ends it at once; the nodes end what is left', async () => {
    await using project = made('');
    const { child, done } = project.start([...project.args, '--events', 'json']);
    onEvent(child.stdout, /"phase":"benchmark"/, () => {
      child.kill('SIGINT');
      setTimeout(() => child.kill('SIGINT'), 30);
    });
    const { code, stderr } = await done;
    expect(code).toBe(130);
    expect(stderr).toMatch(/optimizer clean/);
    await expectNothingLeft(project, guardianLimit);
  });

  test('a second one on the same nodes is refused by name, and harms nothing', async () => {
    await using project = made();
    const first = project.start();
    await waitFor(() => project.witnesses().length > 0, 'a first start');
    const second = await project.run([...project.args, '--output', 'other']);
    expect(second.code).toBe(3);
    expect(second.stderr).toMatch(/is in use by run \d{14}-[0-9a-f]+ of \S+@\S+ since \d{4}-\d\d-\d\dT/);
    expect(second.stderr).toMatch(/→ Wait for it or stop it/);
    expect(existsSync(`${project.directory}/other/runs`) && project.runsIn('other').length > 0).toBe(false);
    const { code } = await first.done;
    expect(code).toBe(0);
    expectAllTold(project, trials);
    // The lock goes with its holder.
    expect((await project.run([...project.args, '--quiet'])).code).toBe(0);
  });

  test('one that is stopped for longer than its lease finds its services ended, and goes on', async () => {
    await using project = made();
    const { child, done } = project.start([...project.args, '--events', 'json']);
    onEvent(child.stdout, /"phase":"benchmark"/, () => child.kill('SIGSTOP'));
    await waitFor(() => project.left().length > 0, 'a service');
    await waitFor(() => project.left().length === 0, 'the nodes to end it', guardianLimit);
    child.kill('SIGCONT');
    const { code, stderr } = await done;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, trials);
    await expectNothingLeft(project);
  });

  test('processes of others that look alike survive a run and `clean --force`', async () => {
    await using project = made();
    const alike = (user?: number): ReturnType<typeof spawn> =>
      spawn('sleep', ['300'], {
        argv0: 'node fake-service.mjs',
        stdio: 'ignore',
        env: { PATH: process.env['PATH'], OPTIMIZER_RUN_ID: 'not-a-token', GROUP_ID: '0' },
        ...(user === undefined ? {} : { uid: user, gid: user }),
      });
    const isRoot = process.getuid?.() === 0;
    const bystanders = [alike(), ...(isRoot ? [alike(65_534)] : [])];
    try {
      const { code } = await project.run([...project.args, '--quiet']);
      expect(code).toBe(0);
      const cleaned = await project.run(['clean', ...project.args, '--force']);
      expect(cleaned.code).toBe(0);
      for (const { pid } of bystanders) {
        expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).not.toMatch(/\) Z /);
      }
    } finally {
      for (const one of bystanders) one.kill('SIGKILL');
    }
  });
});
