import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { childController, never } from '../../src/base/cancellation.ts';
import { IPCCommandError, IPCTimeoutError } from '../../src/base/errors.ts';
import { groupId, ms } from '../../src/base/units.ts';
import type { Command, Executor, Guard, Owner } from '../../src/parallel/ports.ts';
import { hostRuntime } from '../../src/remote/host-runtime.ts';
import { LocalExecutor, RemoteExecutor, SlurmExecutor } from '../../src/remote/remote-executor.ts';
import { startSshServer } from '../support/ssh-server.ts';
import { NodeConfig } from '../../src/config/parallel-config.ts';
import { realSlurm } from '../support/slurm.ts';
import { realSshd } from '../support/sshd.ts';

/** Every way of reaching a machine keeps the same promises. */

interface Subject extends AsyncDisposable {
  readonly executor: Executor;
}

const options = { signal: never, timeout: ms(10_000) };
let owners = 0;
const alive = (pid: number): boolean => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
};
async function until(condition: () => boolean, limit = 5000): Promise<void> {
  const end = performance.now() + limit;
  while (!condition()) {
    if (performance.now() > end) throw new Error('it did not come true');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const subjects: Record<string, (() => Promise<Subject>) | undefined> = {
  LocalExecutor: async () => {
    const executor = new LocalExecutor();
    return Promise.resolve({ executor, [Symbol.asyncDispose]: async () => executor[Symbol.asyncDispose]() });
  },
  'RemoteExecutor over the ssh2 server': async () => {
    const server = await startSshServer();
    const executor = await RemoteExecutor.connect(server.node, never);
    return {
      executor,
      async [Symbol.asyncDispose]() {
        await executor[Symbol.asyncDispose]();
        await server[Symbol.asyncDispose]();
      },
    };
  },
  'RemoteExecutor over OpenSSH': realSshd.available
    ? async () => {
        const cluster = await realSshd.start(1);
        const executor = await RemoteExecutor.connect(cluster.nodeConfig(0), never);
        return {
          executor,
          async [Symbol.asyncDispose]() {
            await executor[Symbol.asyncDispose]();
            await cluster[Symbol.asyncDispose]();
          },
        };
      }
    : undefined,
  'SlurmExecutor on a real Slurm': realSlurm.available
    ? async () => {
        const cluster = realSlurm.start(2);
        Object.assign(process.env, cluster.env);
        const job = cluster.allocate(2);
        const executor = await SlurmExecutor.connect(job, new NodeConfig({ host: 'sn2' }), never);
        return {
          executor,
          async [Symbol.asyncDispose]() {
            await executor[Symbol.asyncDispose]();
            cluster.cancel(job);
            cluster[Symbol.dispose]();
            delete process.env['SLURM_CONF'];
          },
        };
      }
    : undefined,
};

describe.each(Object.entries(subjects))('%s', (_name, make) => {
  const suite = describe.skipIf(make === undefined);
  suite('keeps the contract', () => {
    let subject: Subject;
    let directory: string;
    beforeAll(async () => {
      subject = await make!();
      directory = mkdtempSync(join(tmpdir(), 'optimizer-contract-'));
    });
    afterAll(async () => {
      await subject[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    });

    test('runs a command and returns what it printed', async () => {
      const { stdout, stderr, exitCode } = await subject.executor.run(
        { argv: ['sh', '-c', 'echo out; echo err >&2'] },
        options,
      );
      expect({ stdout, stderr, exitCode }).toEqual({ stdout: 'out\n', stderr: 'err\n', exitCode: 0 });
    });

    test('tells what a command says while it runs, and nothing else', async () => {
      const heard: string[] = [];
      const stop = childController(never);
      const said = subject.executor.run(
        { argv: ['sh', '-c', 'echo one; sleep 0.2; echo two >&2; sleep 60'] },
        {
          ...options,
          signal: stop.signal,
          onOutput: (text) => {
            heard.push(text);
            if (text === 'two\n') stop.abort(new Error('heard enough'));
          },
        },
      );
      await expect(said).rejects.toThrow('heard enough');
      expect(heard).toEqual(['one\n', 'two\n']);
    });

    test('hands over every word, variable and directory as it is', async () => {
      const hostile = fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\0', ''));
      await fc.assert(
        fc.asyncProperty(fc.array(hostile, { minLength: 1, maxLength: 4 }), hostile, async (words, value) => {
          const script = 'printf "%s\\036" "$V" "$@"';
          const { stdout } = await subject.executor.run(
            { argv: ['sh', '-c', script, 'sh', ...words], env: { V: value } },
            options,
          );
          expect(stdout).toBe(
            [value, ...words].map((word) => `${Buffer.from(word).toString()}\x1e`).join(''),
          );
        }),
        { numRuns: 25 },
      );
    });

    test.each([
      "'; echo foo #",
      '$(id)',
      '`id`',
      'a\nb',
      '*',
      '~',
      '\\',
      '-n',
      '',
      "it's",
      '"',
      '!x',
      'ü€😀',
    ])('quotes %j', async (word) => {
      const { stdout } = await subject.executor.run({ argv: ['printf', '%s|', word, word] }, options);
      expect(stdout).toBe(`${word}|${word}|`);
    });

    test('gives the input to the command', async () => {
      const { stdout } = await subject.executor.run({ argv: ['cat'], stdin: 'hello' }, options);
      expect(stdout).toBe('hello');
    });

    test('rejects on an exit code, with what it said', async () => {
      const failing = subject.executor.run({ argv: ['sh', '-c', 'echo broken >&2; exit 3'] }, options);
      await expect(failing).rejects.toThrow(IPCCommandError);
      await expect(failing).rejects.toThrow(/exit code 3.*broken/s);
    });

    test('reports an exit by signal', async () => {
      await expect(subject.executor.run({ argv: ['sh', '-c', 'kill -9 $$'] }, options)).rejects.toThrow(
        /signal|137/,
      );
    });

    test('reads three megabytes on both outputs at once, and keeps a part', async () => {
      const script = 'head -c 3000000 /dev/zero | tr "\\0" x >&2; head -c 3000000 /dev/zero | tr "\\0" y';
      const { stdout, stderr } = await subject.executor.run({ argv: ['sh', '-c', script] }, options);
      expect(stdout.length).toBeLessThan(1_200_000);
      expect(stdout).toMatch(/^yyy[\s\S]*left out[\s\S]*yyy$/);
      expect(stderr).toMatch(/^xxx[\s\S]*left out[\s\S]*xxx$/);
    });

    test('a deadline kills the process group, also one that ignores TERM', async () => {
      const pidFile = join(directory, 'deadline');
      const script = `trap '' TERM; sleep 300 & echo $! >${pidFile}; while :; do sleep 0.1; done`;
      const began = performance.now();
      await expect(
        subject.executor.run({ argv: ['sh', '-c', script] }, { signal: never, timeout: ms(300) }),
      ).rejects.toThrow(IPCTimeoutError);
      expect(performance.now() - began).toBeLessThan(8000);
      await until(() => !alive(Number(readFileSync(pidFile, 'utf8'))));
    });

    test('an abort ends the command with its reason', async () => {
      const pidFile = join(directory, 'abort');
      const controller = childController();
      const running = subject.executor.run(
        { argv: ['sh', '-c', `echo $$ >${pidFile}; exec sleep 300`] },
        { ...options, signal: controller.signal },
      );
      running.catch(() => undefined);
      await until(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '');
      controller.abort(new Error('enough'));
      await expect(running).rejects.toThrow('enough');
      await until(() => !alive(Number(readFileSync(pidFile, 'utf8'))));
    });

    test('many commands at the same time', async () => {
      const numbers = Array.from({ length: 40 }, (_, i) => String(i));
      const results = await Promise.all(
        numbers.map(async (n) => subject.executor.run({ argv: ['echo', n] }, options)),
      );
      expect(results.map(({ stdout }) => stdout.trim())).toEqual(numbers);
    });

    test('writes files whole, private, and with their parents', async () => {
      const path = join(directory, 'deep', "it's a dir", 'file.json');
      await subject.executor.writeFile(path, 'first', never);
      await subject.executor.writeFile(path, 'second ✓', never);
      expect(readFileSync(path, 'utf8')).toBe('second ✓');
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect((await subject.executor.readFile(path, never)).toString()).toBe('second ✓');
    });

    test('a file that cannot be written is an error that names it', async () => {
      writeFileSync(join(directory, 'blocker'), '');
      await expect(subject.executor.writeFile(join(directory, 'blocker/x'), 'x', never)).rejects.toThrow(
        /blocker/,
      );
    });

    test('uploads and downloads', async () => {
      const [from, there, back] = ['from', 'there', 'back'].map((name) => join(directory, name)) as [
        string,
        string,
        string,
      ];
      const content = Buffer.alloc(200_000, 7);
      writeFileSync(from, content);
      await subject.executor.upload(from, there, never);
      await subject.executor.download(there, back, never);
      expect(readFileSync(back).equals(content)).toBe(true);
    });

    let owner: Owner;
    let token: string;
    let guard: Guard;
    // A token a test: the guardian of a process that was ended without `release` waits for 15 s, and ends by its token.
    beforeEach(() => {
      owner = { runId: `contract-${process.pid}-${++owners}`, groupId: groupId(0), rank: 0 };
      token = hostRuntime.token(owner);
      guard = {
        ...{ lease: ms(120_000), grace: ms(200), stop: [], restore: [], detached: false },
        reap: hostRuntime.reap(token, ms(200), []),
        count: hostRuntime.count(token),
      };
    });
    const spawn = async (script: string, name: string, guarded: Partial<Guard> = {}) =>
      subject.executor.spawn(
        hostRuntime.wrap({ argv: ['sh', '-c', script], env: { A: "it's" }, cwd: '/' }, owner),
        {
          signal: never,
          directory: join(directory, 'spawned'),
          logFile: join(directory, 'spawned', `${name}.log`),
          token,
          guard: { ...guard, ...guarded },
        },
      );
    const reap = async (grace: number, known: string[] = []) =>
      (await subject.executor.run(hostRuntime.reap(token, ms(grace), known), options)).stdout;

    test('a spawned process has a session of its own, a log and a state file', async () => {
      using process_ = await spawn('echo "$A $$"; pwd; exec sleep 300', 'session');
      await until(() => process_.tail.length === 2);
      expect(process_.tail).toEqual([`it's ${process_.pid}`, '/']);
      expect(readFileSync(process_.logFile, 'utf8')).toBe(`it's ${process_.pid}\n/\n`);
      const state = JSON.parse(readFileSync(join(directory, 'spawned/state.json'), 'utf8')) as Record<
        string,
        unknown
      >;
      expect(state).toMatchObject({ pid: process_.pid, pgid: process_.pid, token });
      expect(await reap(1000)).toBe('');
      expect(await process_.exited).toMatchObject({ kind: 'code', code: 143 });
    });

    test('a process whose own PATH leads nowhere is started all the same', async () => {
      const command: Command = {
        argv: ['/bin/sh', '-c', 'echo "$PATH"; exec /bin/sleep 300'],
        env: { PATH: '/nowhere' },
      };
      using process_ = await subject.executor.spawn(hostRuntime.wrap(command, owner), {
        ...{ signal: never, directory: join(directory, 'spawned'), token, guard },
        logFile: join(directory, 'spawned', 'path.log'),
      });
      await until(() => process_.tail.length === 1);
      expect(process_.tail).toEqual(['/nowhere']);
      expect(await reap(1000)).toBe('');
    });

    test('a process that ends is noticed with its code', async () => {
      using process_ = await spawn('echo bye; exit 7', 'exit');
      expect(await process_.exited).toEqual({ kind: 'code', code: 7 });
      expect(process_.tail).toEqual(['bye']); // at once: its last words tell whose fault the end was
    });

    test.each([
      ['searched', (_identity: string) => []],
      ['known', (identity: string) => [identity]],
    ])('reaping gets children that left the group and ignore TERM: parent %s', async (how, known) => {
      const pidFile = join(directory, `left-${how}`);
      using process_ = await spawn(
        `setsid sh -c 'trap "" TERM; echo $$ >${pidFile}; while :; do sleep 0.1; done' & exec sleep 300`,
        'left',
      );
      await until(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '');
      expect(await reap(200, known(process_.identity))).toBe('');
      expect(alive(process_.pid)).toBe(false);
      expect(alive(Number(readFileSync(pidFile, 'utf8')))).toBe(false);
    });

    test('reaping leaves processes without the token alone', async () => {
      const { stdout } = await subject.executor.run(
        { argv: ['sh', '-c', 'setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!'] },
        options,
      );
      using process_ = await spawn('exec sleep 300', 'bystander');
      expect(await reap(200, [`${Number(stdout)}:1`])).toBe(''); // a pid that somebody else has by now
      expect(alive(process_.pid)).toBe(false);
      expect(alive(Number(stdout))).toBe(true);
      process.kill(Number(stdout), 'SIGKILL');
    });

    test('holds a command once it has said what it had to say, and tells why it ended before that', async () => {
      const held = { signal: never, every: ms(1000), until: '--- end' };
      const hold = async (text: string): Promise<string> =>
        subject.executor.hold({ argv: ['sh', '-c', text], label: 'holding' }, held);
      const pidFile = join(directory, 'held');
      const said = await hold(
        `echo $$ >${pidFile}; echo a; printf 'b\\n--- '; sleep 0.1; echo end; exec cat`,
      );
      expect(said).toBe('a\nb');
      expect(alive(Number(readFileSync(pidFile, 'utf8')))).toBe(true);
      await expect(hold('echo --- no end; echo broken >&2; exit 3')).rejects.toThrow(
        /holding.*exit code 3 on .*: broken/,
      );
    });

    const guardians = (name: string): string[] =>
      readdirSync('/proc').filter((pid) => {
        try {
          const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
          return words[0] === 'sh' && words[1] === join(directory, 'spawned', `${name}.sh`);
        } catch {
          return false;
        }
      });

    test('one whose watching ends without a word is ended by its guardian, children and all', async () => {
      const [pidFile, stopped] = [join(directory, 'guarded'), join(directory, 'stopped')];
      const process_ = await spawn(
        `setsid sh -c 'trap "" TERM; echo $$ >${pidFile}; while :; do sleep 0.1; done' & exec sleep 300`,
        'guarded',
        {
          lease: ms(2000),
          stop: [{ argv: ['sh', '-c', 'echo "asked $A"', 'x'], env: { A: 'it' } }],
          restore: [{ argv: ['sh', '-c', `echo back >${stopped}`] }],
        },
      );
      await until(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '');
      process_[Symbol.dispose]();
      await until(() => existsSync(stopped) && guardians('guarded').length === 0, 15_000);
      expect(alive(process_.pid)).toBe(false);
      expect(alive(Number(readFileSync(pidFile, 'utf8')))).toBe(false);
      const words = readFileSync(join(directory, 'spawned/guarded.guardian.log'), 'utf8');
      expect(words).toContain(`the connection is gone: ending ${owner.runId}/g0/r0.\nasked it\n`);
      expect(words).toMatch(/ ended\n$/);
      expect(existsSync(join(directory, 'spawned/guarded.sh'))).toBe(false);
    });

    test('a lease that is renewed holds; a script that crashed leaves no children for long', async () => {
      const pidFile = join(directory, 'crashed');
      const left = `setsid sleep 300 & echo $! >${pidFile}; sleep 3; exit 9`;
      using process_ = await spawn(left, 'renewed', { lease: ms(2000) });
      await new Promise((resolve) => setTimeout(resolve, 2700));
      expect(alive(process_.pid)).toBe(true);
      expect(await process_.exited).toEqual({ kind: 'code', code: 9 });
      // We are here and renew: whoever watches ends what is left, by the rules of the plan.
      expect(alive(Number(readFileSync(pidFile, 'utf8')))).toBe(true);
      process_[Symbol.dispose]();
      await until(() => !alive(Number(readFileSync(pidFile, 'utf8'))), 10_000);
      await until(() => guardians('renewed').length === 0);
    });

    test('what was ended and proven gone needs no guardian: it leaves at once, and soon without a trace', async () => {
      using process_ = await spawn('exec sleep 300', 'released');
      await until(() => guardians('released').length > 0);
      expect(await reap(200, [process_.identity])).toBe('');
      await process_.release();
      expect(guardians('released')).toEqual([]);
      const left = (): string[] =>
        readdirSync(join(directory, 'spawned')).filter((name) => name.startsWith('released'));
      await until(() => left().length === 1);
      expect(left()).toEqual(['released.log']);
    });

    test('a process is ended through the channel that it was started through, with all that it started', async () => {
      const pidFile = join(directory, 'deaf');
      using process_ = await spawn(
        `setsid sh -c 'trap "" TERM; echo $$ >${pidFile}; while :; do sleep 0.1; done' & exec sleep 300`,
        'ended',
      );
      await until(() => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '');
      expect(await process_.end([process_.identity], ms(20_000))).toBe('');
      expect(alive(process_.pid)).toBe(false);
      expect(alive(Number(readFileSync(pidFile, 'utf8')))).toBe(false);
      await process_.release();
      expect(guardians('ended')).toEqual([]);
    });

    test('what cannot be ended is told; where the ending itself fails, or nobody is there, a command must do it', async () => {
      const reaping = (text: string) => ({ reap: { argv: ['sh', '-c', text] as const } });
      using first = await spawn(
        'exec sleep 300',
        'kept',
        reaping(`echo "$OPTIMIZER_KNOWN x"; echo '12 y'; :`),
      );
      // Identities are numbers: the words of the variable are told as a survivor.
      expect(await first.end(['1'], ms(5000))).toBe('1 x\n12 y');
      using second = await spawn('exec sleep 300', 'unended', reaping('echo "12 y"; false'));
      expect(await second.end([second.identity], ms(5000))).toBeUndefined();
      using third = await spawn('exec sleep 300', 'hanging', reaping('sleep 5'));
      await expect(third.end([], ms(300))).rejects.toThrow(/ending owned processes on .*0.3/);
      first[Symbol.dispose]();
      expect(await first.end([], ms(30_000))).toBeUndefined();
      expect(await reap(200)).toBe('');
    });

    test('a guardian whose service ended otherwise leaves when nobody is there', async () => {
      const process_ = await spawn('exec sleep 300', 'elsewhere', { lease: ms(2000) });
      expect(await reap(200)).toBe('');
      expect(await process_.exited).toEqual({ kind: 'code', code: 143 });
      process_[Symbol.dispose]();
      await until(() => guardians('elsewhere').length === 0, 6000);
    });

    test('a guardian is sent away when what it guarded is proven gone: it ends nothing that comes after', async () => {
      const first = await spawn('exec sleep 300', 'first', { lease: ms(2000) });
      first[Symbol.dispose]();
      expect(await reap(200)).toBe('');
      await subject.executor.run(hostRuntime.dismiss(token), options);
      await until(() => guardians('first').length === 0, 1000);
      using second = await spawn('exec sleep 300', 'second');
      await new Promise((resolve) => setTimeout(resolve, 3500));
      expect(alive(second.pid)).toBe(true);
      expect(await reap(200)).toBe('');
      await second.release();
    });

    test('a process outlives the one who watches it', async () => {
      const process_ = await spawn('exec sleep 300', 'outlive');
      process_[Symbol.dispose]();
      expect(alive(process_.pid)).toBe(true);
      expect(await reap(200)).toBe('');
    });
  });
});
