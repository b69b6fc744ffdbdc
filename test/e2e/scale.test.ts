import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { JournalEntry } from '../../src/parallel/records.ts';
import { Project, waitFor } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';
import { expectAllTold, expectNothingLeft, onEvent, toldIn } from '../chaos/promises.ts';

/** Groups that join a running study, and leave it. */

const cli = resolve(import.meta.dirname, '../../dist/cli/main.js');

describe.skipIf(!realSshd.available)('a fleet that changes', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(4);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  const hosts = (): string[] => cluster.hosts.map(({ address }) => address);
  const made = (some: readonly string[], parallel = ''): Project => {
    const project = new Project(cluster, {
      ...{ particles: 8, iters: 2, parallel },
      env: { FAKE_START_MS: 200, FAKE_TPOT_MS: 8 },
    });
    writeFileSync(join(project.directory, 'hosts.txt'), some.join('\n'));
    return project;
  };
  const args = (project: Project): string[] => [
    ...project.args,
    '--nodes-per-group',
    '1',
    '--events',
    'json',
  ];
  const scale = async (
    project: Project,
    ...more: readonly string[]
  ): Promise<{ code: number; said: string }> =>
    new Promise((done) => {
      execFile(
        process.execPath,
        [cli, 'scale', ...more],
        { cwd: project.directory },
        (error, stdout, stderr) => done({ code: Number(error?.code ?? 0), said: stdout + stderr }),
      );
    });
  const used = (project: Project): number[] => [
    ...new Set(toldIn(project.journal()).flatMap(({ group_id }) => group_id ?? [])),
  ];
  const scaled = (project: Project): Extract<JournalEntry, { type: 'scaled' }>[] =>
    project.journal().filter((entry) => entry.type === 'scaled');

  test('a host that is added to the hostfile is measured and used; one that is taken out finishes its trial', async () => {
    const [a, b, c] = hosts() as [string, string, string];
    await using project = made([a, b], 'groups = "normalize"\ngroup_tolerance = 5');
    const { child, done } = project.start(args(project));
    let change = 0;
    onEvent(child.stdout, /"type":"trial.finished","trialId":2/, () => {
      change = Date.now();
      writeFileSync(join(project.directory, 'hosts.txt'), `${a}\n${c}\n`);
    });
    const { code, stderr } = await done;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, 16);
    expect(project.summary().evaluations.failed).toBe(0);
    expect(used(project)).toContain(2);
    const journal = project.journal();
    const compared = journal.findIndex((entry) => entry.type === 'group-measured' && entry.group_id === 2);
    const first = journal.findIndex((entry) => entry.type === 'told' && entry.record.group_id === 2);
    expect(compared).toBeGreaterThan(0);
    expect(first).toBeGreaterThan(compared);
    expect(scaled(project)).toMatchObject([{ left: [1], added: [{ group_id: 2, hosts: [{ host: c }] }] }]);
    const begun = journal.filter((entry) => entry.type === 'started' && entry.group_id === 1);
    for (const entry of begun) expect(Date.parse(entry.at)).toBeLessThan(change + 5000);
    expect(project.summary().groups.map(({ group_id }) => group_id)).toEqual([0, 1, 2]);
    await expectNothingLeft(project);
  });

  test('optimizer scale: to nobody, which waits, and back; what cannot be is told', async () => {
    const [a, b, c, d] = hosts() as [string, string, string, string];
    await using project = made([a, b], 'max_groups = 2');
    const { child, done, output } = project.start(args(project));
    await waitFor(() => /"type":"trial.finished","trialId":1/.test(output()), 'it runs');
    expect(await scale(project, '--add', c)).toMatchObject({
      code: 0,
      said: `max_groups = 2: ${c} cannot join\n`,
    });
    expect((await scale(project, '--drain', '7')).said).toBe('group 7 is not in this run\n');
    expect((await scale(project, '--add', a, '--drain', '1')).said).toMatch(
      /is in use by a group of this run/,
    );
    expect((await scale(project, '--remove', a)).said).toBe('group 0 leaves after the trial that it has\n');
    await waitFor(() => output().includes('no group is left: waiting for one to join'), 'it waits');
    expect(child.exitCode).toBe(null);
    expect((await scale(project, '--add', `${c}:${d}`)).said).toMatch(
      /group 2 \(.*\) joins[^]*group 3 \(.*\) joins/,
    );
    const { code, stderr } = await done;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, 16);
    expect(used(project)).toEqual(expect.arrayContaining([2, 3]));
    await expectNothingLeft(project);
    const late = await scale(project, '--drain', '2');
    expect(late.code).toBe(2);
    expect(late.said).toMatch(/is not running/);
    expect((await scale(project)).said).toMatch(/is not running|nothing to change/);
  });

  test('a run that is resumed has the groups that it had', async () => {
    const [a, b] = hosts() as [string, string];
    await using project = made([a]);
    const { child, done, output } = project.start(args(project));
    await waitFor(() => /"type":"trial.finished","trialId":1/.test(output()), 'it runs');
    await scale(project, '--add', b);
    await waitFor(() => /"type":"trial.started","trialId":\d+,"groupId":1/.test(output()), 'it is used');
    child.kill('SIGTERM');
    expect((await done).code).toBe(130);
    const { code, stdout } = await project.run(['resume', '--events', 'json']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/"type":"group.ready","groupId":1/);
    expectAllTold(project, 16);
    await expectNothingLeft(project);
  });

  test('two services a node: devices, ports and directories are split, and the report says so', async () => {
    const [a] = hosts() as [string];
    await using project = made([a], 'groups_per_node = 2');
    const script = readFileSync(join(project.directory, 'start.sh'), 'utf8').replace('#!/bin/sh\n', '');
    project.script('start.sh', `export WHERE=$PWD\n${script.replace(/:\d+/, ':$SERVICE_PORT')}`);
    const { code, stderr } = await project.run([...args(project), '--npus-per-node', '4']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expectAllTold(project, 16);
    expect(used(project).sort()).toEqual([0, 1]);
    const seen = new Map(project.witnesses().map(({ env }) => [env['GROUP_ID'], env]));
    const of = (id: string) => seen.get(id)!;
    expect([of('0')['ASCEND_RT_VISIBLE_DEVICES'], of('1')['ASCEND_RT_VISIBLE_DEVICES']]).toEqual([
      '0,1',
      '2,3',
    ]);
    expect(Number(of('1')['SERVICE_PORT']) - Number(of('0')['SERVICE_PORT'])).toBe(10);
    expect(of('1')['WHERE']).toBe(`${project.directory}/scratch/part1`);
    expect(readFileSync(join(project.runDirectory, 'report.html'), 'utf8')).toContain('Groups share hosts');
    await expectNothingLeft(project);
    const uneven = await project.run([...args(project), '--npus-per-node', '3']);
    expect(uneven.stderr).toMatch(/3 devices of .* cannot be shared by 2 groups/);
  });
});
