import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import fc from 'fast-check';
import { split } from 'shlex';
import { afterAll, describe, expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { groupId, ms, trialId } from '../../src/base/units.ts';
import { NodeConfig, ServiceGroupConfig } from '../../src/config/parallel-config.ts';
import { runtimeSchema } from '../../src/config/schema-tables.ts';
import { createSearchSpace } from '../../src/core/space/space.ts';
import { engines } from '../../src/engines/index.ts';
import type { Command, LaunchPlan } from '../../src/parallel/ports.ts';
import { topologyOf } from '../../src/parallel/topology.ts';
import { runtimeOf } from '../../src/remote/container-runtime.ts';
import { nodeProbe } from '../../src/remote/node-inspection.ts';
import { nodeLock } from '../../src/remote/node-lock.ts';
import { exports, quote, script } from '../../src/remote/quote.ts';
import { ShellExecutor } from '../../src/remote/shell-executor.ts';
import type { Channel, Transport } from '../../src/remote/transport.ts';
import { numRuns } from './arbitraries.ts';

/** No value of a configuration becomes a command: not in a shell, and not in what is sent to one. */

const directory = mkdtempSync(join(tmpdir(), 'optimizer-injection-'));
const canary = join(directory, 'canary');
afterAll(() => rmSync(directory, { recursive: true }));

/** With both quotes and a blank in it, no way of writing it down is harmless but the right one. */
const hostile = fc
  .tuple(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 12 }),
      fc.constantFrom(
        ...[`$(touch ${canary})`, `\`touch ${canary}\``, `; touch ${canary} #`, `\n touch ${canary}\n`],
        ...[`'; touch ${canary}; '`, `"; touch ${canary}; "`, `\\'$(touch ${canary})`, `&& touch ${canary}`],
        ...['${IFS}', '$HOME', '~', '*', '!!', '-rf', '--', '\\', '\r', '\u001b[2J', '|', '<x', '>x', 'é😀'],
      ),
    ),
    fc.string({ unit: 'binary', maxLength: 6 }),
  )
  .map(([a, b]) => `${a}' "${b}`.replaceAll('\0', ''));

/** The words that a shell reads, those of scripts within scripts as well. */
function expectSameWords(actual: string, safe: string, filled: (word: string) => string): void {
  const [found, wanted] = [split(actual), split(safe)];
  expect(found.length).toBe(wanted.length);
  for (const [index, word] of wanted.entries()) {
    if (wanted[index - 1] === '-c') expectSameWords(found[index] ?? '', word, filled);
    else if (found[index] !== filled(word)) expect(found[index]).toBe(filled(word));
  }
}

/** Takes down what would be sent to a machine. */
function recorder(address: string): { executor: ShellExecutor; sent: () => string[] } {
  const sent: { text: string; input: string }[] = [];
  const transport: Transport = {
    host: 'node',
    address,
    lost: never,
    async open(text): Promise<Channel> {
      const entry = { text, input: '' };
      sent.push(entry);
      const stdin = new PassThrough();
      stdin.on('data', (chunk: Buffer) => (entry.input += chunk.toString()));
      return Promise.resolve({
        stdin,
        stdout: Readable.from([Buffer.from('ours\n')]),
        stderr: Readable.from([Buffer.from('pgid 1\n')]),
        ended: Promise.resolve({ kind: 'code' as const, code: 0 }),
        close: () => undefined,
      });
    },
    files: {
      read: async () => Promise.resolve(Buffer.alloc(0)),
      write: async () => Promise.reject(Object.assign(new Error('none'), { code: 'ENOENT' })),
      upload: async () => Promise.resolve(),
      download: async () => Promise.resolve(),
    },
    [Symbol.asyncDispose]: async () => Promise.resolve(),
  };
  // Its file goes by stdin; the rest of stdin are words that renew a lease.
  const texts = (): string[] => sent.flatMap(({ text, input }) => [text, input.trim()]);
  return { executor: new ShellExecutor(transport), sent: texts };
}

/** Everything that is sent to a node from its first connection to the end of a service, with these values. */
async function everythingSent(kind: 'host' | 'docker' | 'exec', word: (slot: number) => string) {
  const { executor, sent } = recorder(word(0));
  const workDir = `/w/${word(1)}`;
  const node = new NodeConfig({ host: 'n0', work_dir: workDir, npu_ids: [0] });
  const table = runtimeSchema.parse(
    kind === 'host' ? {} : { kind, image: word(2), container: word(3), args: [word(4), word(5)] },
  );
  const runtime = runtimeOf(table);
  const owner = { runId: word(6), groupId: groupId(0), rank: 0 };
  const token = runtime.token(owner);
  const env = { MODEL_PATH: word(7) };
  const command: Command = { argv: [word(8), word(9)], cwd: workDir, env, label: 'x' };
  const anyway = async (work: Promise<unknown>): Promise<void> =>
    work.then(
      () => undefined,
      () => undefined,
    );
  const options = { signal: never, timeout: ms(5000) };
  await anyway(nodeProbe.inspect(executor, node, never));
  const claim = { runId: word(6), since: word(10), lease: ms(60_000), census: runtime.census() };
  await anyway(nodeLock.take(executor, node, claim, never));
  await anyway(executor.writeFile(`${workDir}/${word(11)}`, 'x', never));
  const guard = {
    ...{ lease: ms(60_000), grace: ms(1000), detached: false },
    ...{
      stop: [runtime.wrap(command, owner)],
      reap: runtime.reap(token, ms(1000), []),
      count: runtime.count(token),
    },
    restore: [command],
  };
  const spawned = { signal: never, directory: workDir, logFile: `${workDir}/${word(12)}.log`, token, guard };
  await anyway(executor.spawn(runtime.wrap(command, owner), spawned));
  for (const one of [runtime.reap(token, ms(1), [word(13)]), runtime.count(token), runtime.dismiss(token)])
    await anyway(executor.run(one, options));
  await anyway(executor.run(runtime.census(), options));
  await anyway(executor.run({ ...command, stdin: word(14) }, options));
  await anyway(executor.run(command, { ...options, untied: true }));
  await executor[Symbol.asyncDispose]();
  return sent();
}

/** All the commands of a plan, in order. */
const commandsOf = (plan: LaunchPlan): Command[] =>
  [
    ...(plan.prepare ?? []),
    ...plan.stages.flatMap(({ processes }) => processes),
    ...plan.stop,
    ...(plan.restore ?? []),
  ].map(({ command }) => command);

describe('injection', () => {
  test('a shell reads every word back as it was', () => {
    const batch = 100;
    fc.assert(
      fc.property(fc.array(hostile, { minLength: batch, maxLength: batch }), (words) => {
        const printed = words.map((word) => `printf '%s\\0' ${quote(word)}\n`).join('');
        const input = `${exports({ V: words[0] ?? '' })}printf '%s\\0' "$V"\n${printed}`;
        const { stdout } = spawnSync('sh', { input, encoding: 'utf8' });
        const said = [words[0] ?? '', ...words].map((word) => Buffer.from(word).toString());
        expect(stdout.split('\0').slice(0, -1)).toEqual(said);
        expect(existsSync(canary)).toBe(false);
      }),
      { numRuns: Math.ceil(numRuns / batch) },
    );
  });

  test('names of variables are names, and NUL is refused', () => {
    fc.assert(
      fc.property(hostile, (word) => {
        expect(() => exports({ [word]: 'x' })).toThrow(/environment variable/);
        expect(() => quote(`${word}\0`)).toThrow(/NUL/);
        expect(split(script({ argv: [word], cwd: word }))).toEqual([
          'cd',
          word,
          '||',
          'exit',
          '72',
          'exec',
          word,
        ]);
      }),
      { numRuns },
    );
  });

  test.each(['host', 'docker', 'exec'] as const)(
    'what is sent to a node has the same words whatever the values are (%s)',
    async (kind) => {
      const slot = (index: number): string => `slot ${String.fromCharCode(97 + index)};`;
      const safe = await everythingSent(kind, slot);
      expect(safe.length).toBeGreaterThan(15);
      const values = fc.array(hostile, { minLength: 15, maxLength: 15 });
      await fc.assert(
        fc.asyncProperty(values, async (words) => {
          // A lock is written with `|` between its words; names of files have no slashes.
          const value = (index: number): string =>
            (words[index] ?? '')
              .replaceAll('|', ':')
              .replaceAll(index === 11 || index === 12 ? '/' : '|', ':');
          const filled = (text: string): string =>
            text.replace(/slot ([a-o]);/g, (_, letter: string) => value(letter.charCodeAt(0) - 97));
          const sent = await everythingSent(kind, value);
          expect(sent.length).toBe(safe.length);
          for (const [index, text] of safe.entries()) {
            // How many bytes follow on stdin depends on the values.
            const [actual, wanted] = [sent[index] ?? '', text].map((one) =>
              one.replace(/head -c \d+/, 'head -c N'),
            );
            expectSameWords(actual ?? '', wanted ?? '', filled);
          }
        }),
        { numRuns: numRuns },
      );
      expect(existsSync(canary)).toBe(false);
    },
  );

  const tables: Readonly<Record<string, (word: string) => object>> = {
    vllm: (word) => ({
      executable: [word],
      command: { model: word, served_model_name: word },
      fields: 'standard',
    }),
    sglang: (word) => ({ command: { model: word, served_model_name: word }, fields: 'standard' }),
    llamacpp: (word) => ({ command: { model: word, served_model_name: word }, fields: 'standard' }),
    mindie: (word) => ({ config_path: `/${word}`, fields: 'standard' }),
    script: (word) => ({
      model: word,
      target_field: [{ name: 'A', config_position: 'env', dtype: 'enum', dtype_param: [word, 'b'] }],
    }),
  };
  test.each(Object.keys(tables))('no plan of %s puts a value into a script of its own', (name) => {
    const engine = engines.find((one) => one.name === name);
    if (engine === undefined) throw new Error(`there is no engine ${name}`);
    const planned = (word: string): LaunchPlan => {
      const config = engine.config.parse(tables[name]?.(word));
      const node = (host: string): NodeConfig =>
        new NodeConfig({ host, work_dir: `/w/${word}`, npu_ids: [0, 1], device_type: 'gpu' });
      const nodes = name === 'llamacpp' ? [node('n0')] : [node('n0'), node('n1')];
      const group = new ServiceGroupConfig({ group_id: 0, nodes, env: { SECRET: word } });
      const run = { runId: word, trialId: trialId(0), start: 0, sharesPaths: false };
      const space = createSearchSpace(
        engine.fieldsOf(config, { nodes: nodes.length, devicesPerNode: 2, deviceType: 'gpu' }),
      );
      return engine.plan(config, space.current, topologyOf(group, run));
    };
    const scripts = (plan: LaunchPlan): (string | undefined)[] =>
      commandsOf(plan).map(({ argv }) => (argv[0] === 'sh' && argv[1] === '-c' ? argv[2] : undefined));
    const safe = planned('safe');
    expect(commandsOf(safe).length).toBeGreaterThan(0);
    fc.assert(
      fc.property(hostile, (word) => {
        const plan = planned(word);
        expect(scripts(plan)).toEqual(scripts(safe));
        for (const { argv, cwd } of commandsOf(plan)) {
          const read = split(script({ argv, ...(cwd === undefined ? {} : { cwd }) }));
          expect(read.slice(-argv.length)).toEqual(argv);
        }
      }),
      { numRuns: numRuns },
    );
  });
});
