import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { never } from '../src/base/cancellation.ts';
import * as errors from '../src/base/errors.ts';
import { trialId } from '../src/base/units.ts';
import { commandConfig } from '../src/benchmarks/command/command.ts';
import { parseCommand } from '../src/benchmarks/command/parse.ts';
import { registry } from '../src/compose.ts';
import { words } from '../src/base/words.ts';
import { parseHostfile, parseNodeString } from '../src/config/host-lists.ts';
import { resolveSettings } from '../src/config/settings.ts';
import { parseToml } from '../src/config/toml.ts';
import { engineNamed } from '../src/engines/index.ts';
import { ownBenchmark, ownEngine } from '../src/own.ts';
import { topologyOf } from '../src/parallel/topology.ts';
import { pages as pagesWithKeys, written } from '../tools/docs-keys.ts';
import { madeUpJournal } from './support/journal.ts';
import { startCluster, type EmulatedCluster } from '../src/emulator/cluster.ts';

const root = resolve(import.meta.dirname, '..');
const library = pathToFileURL(join(root, 'dist/index.js')).href;
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => join('docs', file)),
];

const examples = ['README.md', 'docs/library.md'].flatMap((page) =>
  [...read(page).matchAll(/```js\n([\s\S]*?)```/g)].map(([, code = ''], index) => ({ page, index, code })),
);

async function run(file: string, cwd: string): Promise<{ stdout: string; stderr: string }> {
  return new Promise((done, fail) => {
    execFile(process.execPath, [file], { cwd, timeout: 30_000 }, (error, stdout, stderr) => {
      if (error === null) done({ stdout, stderr });
      else fail(new Error(`${error.message}\n${stdout}\n${stderr}`));
    });
  });
}

describe('the documentation', () => {
  let cluster: EmulatedCluster;
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-docs-'));
  beforeAll(async () => {
    cluster = await startCluster(1);
    writeFileSync(join(directory, 'hosts.txt'), 'n0\nn1\nn2\nn3\n');
    writeFileSync(
      join(directory, 'config.toml'),
      'engine = "emulator"\n[parallel]\nenabled = true\n[[parallel.service_groups]]\ngroup_id = 0\nnodes = [{ host = "n0" }]\n',
    );
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('has examples', () => {
    expect(examples.length).toBeGreaterThanOrEqual(7);
  });

  test.each(examples)('example $index of $page runs', async ({ index, code }) => {
    const { host, ssh_port, username, identity_file, known_hosts_file } = cluster.nodeConfig(0);
    const node = JSON.stringify({ host, ssh_port, username, identity_file, known_hosts_file });
    const file = join(directory, `example-${index}.mjs`);
    const runnable = code
      .replaceAll("'llm-serving-optimizer'", JSON.stringify(library))
      .replace("{ host: 'node0' }", node)
      .replaceAll(/await using (\w+) = /g, 'const $1 = ') // Node 20 runs it compiled only
      .concat(
        /await using (\w+)/.exec(code) === null
          ? ''
          : `\nawait ${/await using (\w+)/.exec(code)?.[1]}[Symbol.asyncDispose]();\n`,
      );
    writeFileSync(file, runnable);
    const { stdout, stderr } = await run(file, directory);
    expect(stderr).toBe('');
    expect(stdout).not.toBe('');
    expect(stdout).not.toMatch(/^false$/m);
  });

  const configs = pages.flatMap((page) =>
    [...read(page).matchAll(/```toml\n([\s\S]*?)```/g)].map(([, text = ''], index) => ({
      page,
      index,
      text,
    })),
  );

  test('has configurations', () => {
    expect(configs.length).toBeGreaterThanOrEqual(15);
  });

  test.each(configs)('configuration $index of $page is taken as it is', ({ text }) => {
    const given = parseToml('page', text);
    const tunes =
      given['engine'] !== undefined || registry.engines.some(({ name }) => given[name] !== undefined);
    const values = { ...(tunes ? {} : { engine: 'emulator' }), ...given };
    const inSlurm = text.includes('slurm =') ? { hosts: parseNodeString('n0,n1'), slurmJob: '1' } : {};
    const settings = resolveSettings(
      { document: { values, origin: {}, files: [] }, flags: {}, ...inSlurm },
      registry,
    );
    expect(settings.space.dimensions).toBeGreaterThan(0);
    const [group] = settings.parallel.service_groups;
    const run = { runId: 'r', trialId: trialId(0), start: 0, sharesPaths: false };
    const plan = engineNamed(settings.engine).plan(
      settings.engineConfig,
      settings.space.current,
      topologyOf(group!, run),
    );
    expect(plan.stages.length).toBeGreaterThan(0);
  });

  test('the lists of hosts are read as they stand', () => {
    const lists = [...read('docs/your-cluster.md').matchAll(/```hosts\n([\s\S]*?)```/g)];
    expect(lists).toHaveLength(1);
    const { groups } = parseHostfile(lists[0]?.[1] ?? '', 1, 'page');
    expect(groups).toHaveLength(25);
    expect(groups.map(({ hosts: [one] }) => one)).toEqual(
      expect.arrayContaining([
        { host: 'worker-1', slots: 4 },
        { host: 'node09', user: 'me', port: 2222 },
        { host: 'fe80::1', port: 2222 },
        { host: 'web04.example.com' },
      ]),
    );
  });

  const commands = [...read('docs/your-cluster.md').matchAll(/^.*?(optimizer [^#\n]*)/gm)]
    .map(([, line = '']) => line.trim())
    .filter((line) => line.includes(' -') && !line.includes('`'));
  test.each(commands)('a command of the page is understood: %s', async (line) => {
    const argv = words(line, 'line').slice(1);
    const cli = join(root, 'dist/cli/main.js');
    const args = argv.map((word) => (word === 'config.toml' ? 'none.toml' : word));
    const { status, stderr } = spawnSync(process.execPath, [cli, ...args], {
      cwd: directory,
      encoding: 'utf8',
      input: 'n0\nn1\n',
    });
    // What is missing is the configuration, the hosts or the run; no word of it is unknown.
    expect(stderr).not.toMatch(/unknown (option|command)|invalid argument|excess arguments/i);
    expect(stderr).toMatch(/none\.toml|There is no run|is not running|ssh_config/);
    expect(status).toBe(2);
    return Promise.resolve();
  });

  const recordedOutputs = [
    ['GuideLLM', 'guidellm.json'],
    ['AIPerf', 'aiperf.json'],
    ['genai-bench', 'genai-bench.json'],
  ] as const;
  test.each(recordedOutputs)('the mapping for %s reads what it wrote', (title, file) => {
    const section = read('docs/benchmarks/command.md').split(`## ${title}\n`)[1] ?? '';
    const table = parseToml('page', /```toml\n([\s\S]*?)```/.exec(section)?.[1] ?? '')['command'];
    const recorded = { path: file, text: read(`test/fixtures/recorded/${file}`) };
    const { performance, percentiles } = parseCommand(commandConfig.parse(table), recorded, 10);
    expect(performance.success_rate).toBe(1);
    expect(performance.generate_speed).toBeGreaterThan(1);
    expect(performance.throughput).toBeGreaterThan(0.1);
    const { time_to_first_token: ttft, time_per_output_token: tpot } = performance;
    expect(ttft).toBeGreaterThan(0.01);
    expect(ttft).toBeLessThan(5);
    expect(tpot).toBeGreaterThan(0.001);
    expect(tpot).toBeLessThan(0.2);
    expect(percentiles.ttft_ms?.p99).toBeGreaterThan(ttft! * 900);
  });

  const moduleOf = (page: string, name: string): string => {
    const file = join(directory, name);
    writeFileSync(file, /```js\n([\s\S]*?)```/.exec(read(page))?.[1] ?? '');
    return file;
  };

  test('the engine of the walk-through is one, and is planned', async () => {
    const engine = await ownEngine(moduleOf('docs/own-engine.md', 'my-engine.mjs'));
    const config = engine.config.parse({ model: 'm' });
    const [group] = resolveSettings(
      { document: { values: { engine: 'emulator' }, origin: {}, files: [] }, flags: {} },
      registry,
    ).parallel.service_groups;
    const run = { runId: 'r', trialId: trialId(0), start: 0, sharesPaths: false };
    const plan = engine.plan(config, { MAX_BATCH: 8 }, topologyOf(group!, run));
    expect(plan.probe.url).toBe('http://127.0.0.1:9000/health');
    expect(plan.stages[0]?.processes[0]?.command.argv).toContain('8');
  });

  test('the benchmark of the walk-through measures', async () => {
    const kind = await ownBenchmark(moduleOf('docs/own-benchmark.md', 'my-load.mjs'));
    const server = createServer((_request, response) => void response.end('{}')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const target = { baseUrl: `http://127.0.0.1:${port}`, model: undefined };
    const benchmark = await kind.create();
    const result = await benchmark.run(kind.config.parse({}), target, {}, { signal: never } as never);
    server.close();
    expect(result.performance.success_rate).toBe(1);
  });

  test.each([
    ['export default 1', /no default export, or one that is no object/],
    ['export default {}', /`name` must be a text.*`plan` must be a function.*`fieldsOf` must be a function/],
    ["export default { name: 'vllm', plan() {}, fieldsOf() {} }", /the name vllm is taken/],
    ["export default { name: 'x', plan() {}, fieldsOf() {}, config: 5 }", /`config` must be a zod schema/],
    ['export default {', /cannot be loaded/],
  ])('an engine that is none is explained: %s', async (code, message) => {
    const file = join(directory, `wrong-${Math.abs(code.length * 31 + code.charCodeAt(15))}.mjs`);
    writeFileSync(file, code);
    await expect(ownEngine(file)).rejects.toThrow(message);
    await expect(ownEngine(join(directory, 'absent.mjs'))).rejects.toThrow(/There is no file/);
  });

  test.each(pagesWithKeys)(
    'the keys of %s are those of the schema (else: npm run docs:keys)',
    async (page) => {
      expect(await written(page)).toBe(readFileSync(page, 'utf8'));
    },
  );

  test('every engine and benchmark has its keys on its page', () => {
    const names = [...registry.engines, ...registry.benchmarks].map(({ name }) => name);
    const missing = names.filter(
      (name) => !pagesWithKeys.some((page) => readFileSync(page, 'utf8').includes(`<!-- keys: ${name} -->`)),
    );
    expect(missing).toEqual([]);
  });

  test('what stands in a journal is explained', () => {
    const page = read('docs/journal.md');
    const keys = new Set<string>();
    for (const entry of madeUpJournal({ trials: 40 })) {
      keys.add(entry.type);
      for (const key of Object.keys(entry)) keys.add(key);
      if (entry.type !== 'told') continue;
      for (const part of [entry.record, entry.record.verdict])
        Object.keys(part).forEach((key) => keys.add(key));
    }
    expect(keys.size).toBeGreaterThan(30);
    expect([...keys].filter((key) => !page.includes(`\`${key}\``))).toEqual([]);
  });

  /** As renderers of Markdown name them. */
  const anchorsOf = (page: string): string[] =>
    [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    );

  test('every link leads to a heading that is there', () => {
    const dead = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)/g)]
        .filter(([, file = '', anchor = '']) => {
          const target = file === '' ? page : join(dirname(page), file);
          return target.endsWith('.md') && !anchorsOf(target).includes(anchor);
        })
        .map(([link]) => `${page}: ${link}`),
    );
    expect(dead).toEqual([]);
  });

  test('every error is explained where it says', () => {
    const classes = Object.values(errors).filter(
      (one): one is typeof errors.ModelEvalStateError =>
        typeof one === 'function' && 'prototype' in one && one.prototype instanceof Error,
    );
    const names = [...classes.map(({ name }) => name), 'InvalidConfiguration', 'ChannelRefused'];
    expect(names.length).toBeGreaterThanOrEqual(19);
    const anchors = anchorsOf('docs/errors.md');
    expect(names.filter((name) => !anchors.includes(name.toLowerCase()))).toEqual([]);
    expect(new errors.SimulatorStartError('vllm', 'no').help).toBe('docs/errors.md#simulatorstarterror');
  });

  test('every link leads somewhere', () => {
    const dead = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)]
        .map(([, target = '']) => join(dirname(page), target))
        .filter((target) => !existsSync(join(root, target)))
        .map((target) => `${page}: ${target}`),
    );
    expect(dead).toEqual([]);
  });
});
