import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { initEngines } from '../../src/cli/options.ts';
import { journalText } from '../../src/runs/journal-content.ts';
import { madeUpJournal, type MadeUp } from '../support/journal.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';

/** The commands around a run, as a new user meets them. */

const cli = resolve(import.meta.dirname, '../../dist/cli/main.js');
const place = (): string => mkdtempSync(join(tmpdir(), 'optimizer-steps-'));
const optimizer = (directory: string, ...args: readonly string[]) =>
  spawnSync(process.execPath, [cli, ...args], { cwd: directory, encoding: 'utf8', timeout: 60_000 });

describe.skipIf(!realSshd.available)('init', () => {
  test.each(initEngines)('%s: what it writes can be run as it is', (engine) => {
    const directory = place();
    const written = optimizer(directory, 'init', '-e', engine);
    expect(written.stdout).toMatch(/^wrote config\.toml and hosts\.txt\n/);
    expect(written.status).toBe(0);
    const perGroup = engine === 'llamacpp' ? '1' : '2';
    const dry = optimizer(
      directory,
      '-c',
      'config.toml',
      '--parallel',
      '--hostfile',
      'hosts.txt',
      '--nodes-per-group',
      perGroup,
      '--dry-run',
    );
    expect(dry.stderr).toBe('');
    expect(dry.stdout).toContain(`engine ${engine}`);
    expect(dry.stdout).toMatch(/nothing was started\n$/);
  });

  test('what is there is kept unless it may be replaced', () => {
    const directory = place();
    writeFileSync(join(directory, 'config.toml'), 'mine');
    const refused = optimizer(directory, 'init');
    expect(refused.status).toBe(2);
    expect(refused.stderr).toMatch(/config\.toml is there already\n {2}→ .*--force/);
    expect(readFileSync(join(directory, 'config.toml'), 'utf8')).toBe('mine');
    expect(existsSync(join(directory, 'hosts.txt'))).toBe(false);
    expect(optimizer(directory, 'init', '--force').status).toBe(0);
    expect(readFileSync(join(directory, 'config.toml'), 'utf8')).toContain('engine = "script"');
  });

  describe('on hosts', () => {
    let cluster: SshdCluster;
    beforeAll(async () => {
      cluster = await realSshd.start(1);
      writeFileSync(join(cluster.bin, 'nvidia-smi'), '#!/bin/sh\nprintf "0\\n1\\n2\\n3\\n"\n', {
        mode: 0o755,
      });
    });
    afterAll(async () => cluster[Symbol.asyncDispose]());

    test('devices that are there are in the configuration; a host that is not reached is told', () => {
      const directory = place();
      const [host] = cluster.hosts;
      writeFileSync(join(directory, 'given.txt'), `${host!.address}\n`);
      const found = optimizer(
        directory,
        ...['init', '-e', 'vllm', '--hostfile', 'given.txt', '--nodes-per-group', '1'],
        ...['-i', cluster.identity, '--ssh-port', String(cluster.port), '--accept-new-host-keys'],
      );
      expect(found.status).toBe(0);
      const text = readFileSync(join(directory, 'config.toml'), 'utf8');
      expect(text).toContain('npu_ids = [0, 1, 2, 3]   # found on 1 node(s)');
      expect(text).toContain('device_type = "gpu"');
      // How they were reached is in it as well: what it says to do next works as it stands.
      const next = /^3\. optimizer (.*) --dry-run$/m.exec(found.stdout)?.[1] ?? '';
      expect(text).toContain(`ssh_port = ${cluster.port}\nidentity_file = "${cluster.identity}"`);
      const look = optimizer(directory, 'check', ...next.split(' '));
      expect(look.stdout).toMatch(new RegExp(`^${host!.address.replaceAll('.', '\\.')} +✓`, 'm'));
      const nobody = optimizer(directory, 'init', '--force', '--node-string', '127.0.0.9', '--ssh-port', '1');
      expect(nobody.stderr).toContain('note: 127.0.0.9: Cannot reach');
      expect(nobody.status).toBe(0);
    });
  });
});

test('--on-finish is run at the end with what came of it, and changes no exit code', () => {
  const directory = place();
  const command =
    'echo "$OPTIMIZER_STATUS $OPTIMIZER_EXIT_CODE $OPTIMIZER_RUN_ID" >said; ls "$OPTIMIZER_RUN_DIR" >>said; exit 7';
  const done = optimizer(directory, '--simulate', '--max-evaluations', '4', '--json', '--on-finish', command);
  expect(done.status).toBe(0);
  expect(JSON.parse(done.stdout)).toMatchObject({ status: 'completed' });
  expect(done.stderr).toContain('--on-finish ended with exit code 7');
  expect(readFileSync(join(directory, 'said'), 'utf8')).toMatch(/^completed 0 sim-0\n[^]*report\.html/);
});

describe.skipIf(!realSshd.available)('runs', () => {
  const output = place();
  const batch = {
    ...{ name: 'MAX_NUM_SEQS', config_position: 'env', dtype: 'int', min: 8, value: 64, scale: 'log' },
  };
  const make = (runId: string, made: Partial<MadeUp>): void => {
    const directory = join(output, 'runs', runId);
    spawnSync('mkdir', ['-p', directory]);
    const entries = madeUpJournal({ trials: 30, runId, ...made });
    writeFileSync(join(directory, 'journal.jsonl'), journalText(entries));
    const input = {
      document: {
        values: {
          vllm: { target_field: [{ ...batch, max: made.seed === 2 ? 128 : 256 }] },
          iters: made.seed ?? 1,
        },
        origin: {},
        files: [],
      },
      flags: {},
    };
    writeFileSync(
      join(directory, 'settings.json'),
      JSON.stringify({ schema: 1, run_id: runId, version: '0', csv: '', input }),
    );
  };
  beforeAll(() => {
    make('20260101000000-aaaaaa', {});
    make('20260102000000-bbbbbb', { speed: 0.7, seed: 2 });
  });
  const runs = (...args: readonly string[]) => optimizer(output, 'runs', ...args, '--output', output);

  test('list: the newest first, with what came of it', () => {
    const [head, first, second] = runs('list').stdout.split('\n');
    expect(head).toMatch(/^run +status +engine +trials +best +gain +time$/);
    expect(first).toMatch(/^20260102000000-bbbbbb {2}completed {2}vllm +36 +[\d.]+ tok\/s +[\d.]+ × /);
    expect(second).toMatch(/^20260101000000-aaaaaa/);
  });

  test('a journal that is damaged is listed as such, and hides no other', () => {
    const bad = join(output, 'runs', '20260103000000-cccccc');
    spawnSync('mkdir', ['-p', bad]);
    writeFileSync(join(bad, 'journal.jsonl'), '{"type":"nonsense"}\n{}\n');
    const { stdout, status } = runs('list');
    expect(stdout).toMatch(/^20260103000000-cccccc {2}damaged/m);
    expect(stdout).toMatch(/^20260102000000-bbbbbb/m);
    expect(status).toBe(0);
    spawnSync('rm', ['-r', bad]);
  });

  test('diff: exit 1 and a reason where the second is worse, 0 the other way round', () => {
    const worse = runs('diff', '20260101000000-aaaaaa', '20260102000000-bbbbbb');
    expect(worse.stdout).toMatch(/iters +1 +2/);
    expect(worse.stdout).toMatch(
      /^search space:\n {2}MAX_NUM_SEQS +8 … 256, log, now 64 +8 … 128, log, now 64\n/m,
    );
    expect(worse.stdout).toMatch(/^worse: the second is \d\d\.\d % slower/m);
    expect(worse.status).toBe(1);
    expect(runs('diff', '20260102000000-bbbbbb', '20260101000000-aaaaaa').status).toBe(0);
  });

  test('show, show --trial, export: of the newest; of what is not there, a remedy', () => {
    expect(runs('show').stdout).toContain('is the best configuration within the SLOs');
    expect(runs('show', '--trial', '0').stdout).toMatch(/^trial 0 of run 20260102000000-bbbbbb/);
    const none = runs('show', '--trial', '99');
    expect(none.stderr).toMatch(/has no result of a trial 99\n {2}→ Its trials are 0 to 35/);
    expect(none.status).toBe(2);
    for (const format of ['csv', 'json', 'optuna'])
      expect(runs('export', '--format', format).stdout.length).toBeGreaterThan(1000);
    const wrong = optimizer(output, 'runs', 'lst');
    expect(wrong.stderr).toContain("unknown command 'lst' (did you mean 'list'?)");
    expect(wrong.status).toBe(2);
    const misspelt = optimizer(output, 'reprot');
    expect(misspelt.stderr).toContain("unknown command 'reprot' (did you mean 'report'?)");
    expect(misspelt.status).toBe(2);
  });

  test('dashboard: the page for who has the token, nothing for others', async () => {
    const child = spawn(process.execPath, [cli, 'dashboard', '--output', output]);
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await expect.poll(() => said, { timeout: 20_000 }).toMatch(/http:\S+/);
    const [url = ''] = /http:\S+/.exec(said) ?? [];
    expect(new URL(url).hostname).toBe('127.0.0.1');
    const page = await fetch(url);
    expect(page.status).toBe(200);
    expect(await page.text()).toContain('20260102000000-bbbbbb');
    expect((await fetch(new URL('/', url))).status).toBe(404);
    expect((await fetch(url.replace(/.\/$/, 'x/'))).status).toBe(404);
    expect((await fetch(url, { method: 'POST' })).status).toBe(405);
    child.kill('SIGINT');
    expect(await new Promise((ended) => child.once('exit', (code) => ended(code)))).toBe(0);
  });
});

test('in a directory that was deleted nothing spins: making another one there is an error', () => {
  const directory = place();
  const module = resolve(import.meta.dirname, '../../dist/runs/directory.js');
  const code = `const { makeDirectory } = await import(${JSON.stringify(module)});
    (await import('node:fs')).rmSync(${JSON.stringify(directory)}, { recursive: true });
    try { makeDirectory('result/runs/x', 0o700); } catch (error) { console.log(error.code); }`;
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    ...{ cwd: directory, encoding: 'utf8', timeout: 10_000 },
  });
  expect(done.stdout).toBe('ENOENT\n');
});
