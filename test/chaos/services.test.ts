import { chmodSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Project, type ProjectOptions } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';
import { expectAllTold, expectNothingLeft, toldIn } from './promises.ts';

/** Services, start scripts and load tools that go wrong. */

const trials = 8;

describe.skipIf(!realSshd.available)('what runs on the nodes goes wrong', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(2);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());
  const groups = (project: Project): string[] => [...project.args, '--nodes-per-group', '1', '--quiet'];
  const made = (options: ProjectOptions): Project =>
    new Project(cluster, { particles: 4, iters: 2, seqs: [4, 64], ...options });

  const services: readonly {
    readonly fault: string;
    readonly says: RegExp;
    readonly keys?: string;
    readonly builtin?: string;
  }[] = [
    { fault: 'start-exit', says: /exit(ed with)? code 1/ },
    { fault: 'start-oom', says: /out of memory/i },
    { fault: 'start-killed', says: /137|SIGKILL|killed/i },
    { fault: 'never', says: /Health check failed|failed on two groups/, keys: 'health_check_timeout = 1.5' },
    { fault: 'load-exit', says: /exit(ed with)? code 1|Health check failed/ },
    { fault: 'load-oom', says: /out of memory/i },
    { fault: 'load-killed', says: /137|SIGKILL|killed/i },
    { fault: 'silent', says: /said nothing for 2 s/, builtin: 'stall_timeout = 2' },
  ];
  test.each(services)(
    'a service that fails with some values ($fault): those are infeasible, the others measured',
    async ({ fault, says, keys = '', builtin = '' }) => {
      await using project = made({
        env: { FAKE_FAULT: fault, FAKE_FAULT_ABOVE: 34 },
        defaults: `stop_grace = 1\n${keys}`,
        builtin,
      });
      const { code, stderr } = await project.run(groups(project));
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      await expectNothingLeft(project);
      expectAllTold(project, trials);
      const told = toldIn(project.journal());
      const above = told.filter(({ params }) => Number(params['MAX_NUM_SEQS']) > 34);
      expect(above.length).toBeGreaterThan(0);
      for (const { verdict } of above) {
        expect(verdict.kind).not.toBe('scored');
        if (verdict.kind !== 'scored') expect(verdict.error.message).toMatch(says);
      }
      for (const { params, verdict } of told) {
        if (Number(params['MAX_NUM_SEQS']) <= 34) expect(verdict.kind).toBe('scored');
      }
    },
  );

  const scripts: readonly {
    readonly name: string;
    readonly prepare: (project: Project) => void;
    readonly options?: ProjectOptions;
    readonly code: number;
    readonly says: RegExp;
  }[] = [
    {
      name: 'missing',
      prepare: (project) => rmSync(`${project.directory}/start.sh`),
      code: 3,
      says: /start\.sh.*not found|No such file|exit code 127/s,
    },
    {
      name: 'not executable',
      prepare: (project) => chmodSync(`${project.directory}/start.sh`, 0o644),
      code: 3,
      says: /denied|exit code 126/i,
    },
    {
      name: 'returning 1',
      prepare: (project) => project.script('start.sh', 'echo this cannot work; exit 1'),
      code: 3,
      says: /this cannot work|exit code 1/,
    },
    {
      name: 'returning 0 with nothing started',
      prepare: (project) => project.script('start.sh', 'exit 0'),
      code: 3,
      says: /left no process behind/,
    },
  ];
  test.each(scripts)('a start script that is $name stops the run with a remedy', async (row) => {
    const { prepare, code, says } = row;
    await using project = made({});
    prepare(project);
    const done = await project.run(groups(project));
    expect(done.stderr).toMatch(says);
    expect(done.stderr).toMatch(/→ /);
    expect(done.code).toBe(code);
    await expectNothingLeft(project);
  });

  test.each([true, false])('a start script that forks (%s) serves all the same', async (forks) => {
    await using project = made({ forks });
    const { code, stderr } = await project.run(groups(project));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    await expectNothingLeft(project);
    expectAllTold(project, trials);
  });

  test('a service that is deaf to TERM is killed after the grace', async () => {
    await using project = made({
      particles: 2,
      iters: 1,
      env: { FAKE_DEAF: 1 },
      defaults: 'stop_grace = 0.5',
    });
    const { code, stderr } = await project.run(groups(project));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(project.witnesses('stop').length).toBeGreaterThan(0);
    await expectNothingLeft(project);
  });

  const tools: readonly { readonly name: string; readonly body: string; readonly says: RegExp }[] = [
    { name: 'crashes', body: 'echo boom >&2; exit 9', says: /exit code 9.*boom/s },
    { name: 'prints garbage', body: 'echo "this is {no} json"', says: /this is \{no\} json/ },
    { name: 'prints nothing', body: ':', says: /empty/ },
    { name: 'prints NaN', body: `echo '{"speed": NaN, "ok": 1, "ttft": 1}'`, says: /NaN|json/i },
    { name: 'prints what is no number', body: `echo '{"speed": null, "ok": 1, "ttft": 1}'`, says: /speed/ },
    { name: 'never ends', body: 'sleep 300 & sleep 300', says: /timed out|took longer|too slow|benchmark/i },
  ];
  describe.each(['controller', 'master'])('on the %s', (where) => {
    test.each(tools)('a load tool that $name costs no result and leaves nothing', async ({ body, says }) => {
      await using project = made({
        particles: 2,
        iters: 1,
        top: 'benchmark = "command"',
        parallel: 'retry_count = 1\nevaluation_timeout = 1.5',
      });
      const tool = project.script(
        'load.sh',
        `[ "$1" -le 16 ] && { echo '{"speed": 100, "ok": 1, "ttft": 0.01}'; exit; }\n${body}`,
      );
      project.configure({
        particles: 2,
        iters: 1,
        seqs: [4, 64],
        concurrency: [8, 32],
        top: 'benchmark = "command"',
        parallel: 'retry_count = 1\nevaluation_timeout = 1.5',
        builtin: `[command]
command = "${tool} {concurrency}"
run_on = "${where}"
[command.metrics]
generate_speed = { value = "speed", unit = "tok/s" }
success_rate = { value = "ok", unit = "share" }
time_to_first_token = { value = "ttft", unit = "s" }`,
      });
      const { code, stderr } = await project.run(groups(project));
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      await expectNothingLeft(project);
      expectAllTold(project, 2);
      const failed = toldIn(project.journal()).filter(({ params }) => Number(params['CONCURRENCY']) > 16);
      for (const { verdict } of failed) {
        expect(verdict.kind).not.toBe('scored');
        if (verdict.kind !== 'scored') expect(verdict.error.message).toMatch(says);
      }
    });
  });

  test('a flood of 130 MB, lines of 10 MB and bytes that are no text: bounded memory, the log whole on the node', async () => {
    await using project = made({ particles: 2, iters: 1, env: { FAKE_FAULT: 'flood', FAKE_FAULT_ABOVE: 8 } });
    const { child, done } = project.start(groups(project));
    let peak = 0;
    const watch = setInterval(() => (peak = Math.max(peak, project.residentMiB(child.pid!))), 50);
    const { code, stderr } = await done.finally(() => clearInterval(watch));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(peak).toBeGreaterThan(0);
    expect(peak).toBeLessThan(400);
    const [flooded] = toldIn(project.journal()).filter(({ verdict }) => verdict.kind !== 'scored');
    expect(flooded?.verdict).toMatchObject({ kind: 'infeasible' });
    const log = project.trialFile(flooded!.trial_id, 'service.log');
    if (log !== undefined) expect(log).toMatch(/the end of the flood/);
    expect(project.largestLog()).toBeGreaterThan(130_000_000);
    await expectNothingLeft(project);
  });
});
