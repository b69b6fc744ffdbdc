import { execFileSync, spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { quote } from '../../src/remote/quote.ts';
import { Project } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';
import { Terminal } from '../support/terminal.ts';

/** The live view as a person has it: in tmux, resized, with keys. */

const cli = resolve(import.meta.dirname, '../../dist/cli/main.js');
const available = realSshd.available && spawnSync('tmux', ['-V']).status === 0;

describe.skipIf(!available)('in a terminal', () => {
  let cluster: SshdCluster;
  beforeAll(async () => {
    cluster = await realSshd.start(4);
  });
  afterAll(async () => cluster[Symbol.asyncDispose]());

  const command = (project: Project, more = ''): string =>
    `cd ${quote(project.directory)} && ${[process.execPath, cli, ...project.args].map(quote).join(' ')} ${more}; echo "code $?"`;
  const slow = { env: { FAKE_TPOT_MS: 40 }, iters: 8, builtin: 'max_concurrency = 8' } as const;
  const seen = async (terminal: Terminal, what: RegExp): Promise<void> =>
    expect.poll(() => terminal.screen, { timeout: 40_000 }).toMatch(what);
  /** How often a line with this beginning is on the screen. */
  const count = (terminal: Terminal, what: RegExp): number =>
    terminal.screen.split('\n').filter((line) => what.test(line)).length;

  const doubledEvents = (terminal: Terminal): string[] => {
    const events = terminal.screen.split('\n').filter((line) => /^\[\d+\/\d+\] trial/.test(line));
    return events.filter((line, index) => events.indexOf(line) !== index);
  };

  test.each([
    [80, 24],
    [200, 50],
  ])('%i × %i: one picture, no line twice, however it is resized', async (columns, rows) => {
    await using project = new Project(cluster, slow);
    using terminal = new Terminal(columns, rows);
    terminal.type(command(project));
    await seen(terminal, /group 1 {3}trial \d+ +benchmark \d+\/\d+ requests/);
    for (const [width, height] of [
      [120, 30],
      [90, 24],
      [columns, rows],
    ] as const) {
      terminal.resize(width, height);
      await sleep(700);
      expect(count(terminal, /^run \d{14}-\w+ {2}\d/)).toBe(1);
      expect(count(terminal, /^group 0 {3}/)).toBe(1);
      for (const line of terminal.screen.split('\n')) expect(line.length).toBeLessThanOrEqual(width);
    }
    await seen(terminal, /[█░]+ \d+\/\d+ .*running/);
    terminal.press('q');
    await seen(terminal, /go on with: optimizer resume/);
    await seen(terminal, /code 130/);
    // Nothing of the picture stays above what is told at the end.
    expect(terminal.history).not.toMatch(/^group \d {3}/m);
  });

  test('keys: help and log come and go; p pauses and goes on', async () => {
    await using project = new Project(cluster, slow);
    using terminal = new Terminal(100, 30);
    terminal.type(command(project));
    await seen(terminal, /\[1\/\d+\] trial/);
    terminal.press('?');
    await seen(terminal, /q {2}stop: end what runs and save/);
    terminal.press('?');
    await expect.poll(() => terminal.screen).not.toMatch(/q {2}stop/);
    expect(doubledEvents(terminal)).toEqual([]);
    terminal.press('l');
    await expect.poll(() => terminal.screen).not.toMatch(/^group 0 {3}/m);
    terminal.press('l');
    await seen(terminal, /^group 0 {3}/m);
    expect(doubledEvents(terminal)).toEqual([]);
    terminal.press('p');
    await seen(terminal, /PAUSED/);
    // What runs ends, and nothing new begins.
    await seen(terminal, /, 0 running/);
    const told = /(\d+)\/\d+ {2}\d+ measured/.exec(terminal.screen)?.[1];
    await sleep(1500);
    expect(/(\d+)\/\d+ {2}\d+ measured/.exec(terminal.screen)?.[1]).toBe(told);
    terminal.press('p');
    await expect.poll(() => terminal.screen).not.toMatch(/PAUSED/);
    await seen(terminal, /, [1-9] running/);
    terminal.press('C-c');
    await seen(terminal, /code 130/);
    // The terminal is as it was: what is typed is seen.
    terminal.type('echo back to "the shell"');
    await seen(terminal, /^back to the shell$/m);
  });

  test('piped it is plain: no control characters, a line an event', async () => {
    await using project = new Project(cluster, { iters: 2 });
    using terminal = new Terminal(100, 30);
    terminal.type(command(project, '| cat -v >out.txt'));
    await seen(terminal, /code \d/);
    const out = execFileSync('cat', [`${project.directory}/out.txt`], { encoding: 'utf8' });
    expect(out).not.toMatch(/\^\[|\^M/);
    expect(out).toMatch(/^\[1\/\d+\] trial \d+ on group/m);
  });
});
