import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { trialId } from '../../src/base/units.ts';
import { NodeConfig, ServiceGroupConfig } from '../../src/config/parallel-config.ts';
import { registry } from '../../src/compose.ts';
import { resolveSettings } from '../../src/config/settings.ts';
import { parseToml, type Table } from '../../src/config/toml.ts';
import type { Field } from '../../src/core/space/field.ts';
import { createSearchSpace } from '../../src/core/space/space.ts';
import { engineNamed } from '../../src/engines/index.ts';
import { ownFields } from '../../src/refine.ts';
import { scriptEngine } from '../../src/engines/script/script.ts';
import { topologyOf } from '../../src/parallel/topology.ts';
import { quote } from '../../src/remote/quote.ts';
import { writeBest } from '../../src/runs/best.ts';

const hostile = `it's "$HOME" \`id\` $(id)\nCONFIGURATION;`;

test('launch.sh starts what was recommended, on each rank, whatever the values are; secrets stay where they are', async () => {
  const directory = mkdtempSync(join(tmpdir(), "optimizer best's-"));
  const seen = join(directory, 'seen');
  const script = (name: string): string => {
    const path = join(directory, name);
    const body = `#!/bin/sh\nprintf '%s\\0' ${name} "$@" "$MODE" "$HF_TOKEN" "$NODE_RANK" >>'${seen.replaceAll("'", `'\\''`)}'\ncp "$2" "$2.$NODE_RANK"\n`;
    writeFileSync(path, body, { mode: 0o755 });
    return `"${path}"`;
  };
  const settings = new ServiceGroupConfig({
    group_id: 0,
    nodes: ['a', 'b'].map((host) => new NodeConfig({ host, work_dir: directory, device_type: 'gpu' })),
    start_script: script('start'),
    worker_script: script('worker'),
    config_path: join(directory, 'deep/config.json'),
    env: { HF_TOKEN: 'hf_secret' },
  });
  const enumField = {
    min: 0,
    max: 1,
    dtype: 'enum' as const,
    dtype_param: ['x', hostile],
    value: 'x',
    constant: null,
  };
  const fields = [
    { ...enumField, name: 'MODE', config_position: 'env' },
    { ...enumField, name: 'deep', config_position: 'a.b' },
  ];
  const config = scriptEngine.config.parse({ target_field: fields });
  const params = { MODE: hostile, deep: hostile };
  const topology = topologyOf(settings, { runId: 'r', trialId: trialId(7), start: 0, sharesPaths: false });
  const document = {
    parallel: { defaults: { env: { HF_TOKEN: 'hf_secret', PLAIN: 'x' } } },
    script: { target_field: fields },
  };
  await writeBest(directory, {
    params,
    fields,
    plan: scriptEngine.plan(config, params, topology),
    topology,
    needs: {},
    document,
    engine: 'script',
    benchmark: 'builtin',
    quote,
  });
  const launch = join(directory, 'launch.sh');
  const env = { ...process.env, HF_TOKEN: 'from outside' };
  execFileSync('sh', [launch, '1'], { env });
  execFileSync('sh', [launch], { env });
  const path = join(directory, 'deep/config.json');
  const words = (name: string, rank: string): string[] => [
    name,
    '--config',
    path,
    hostile,
    'from outside',
    rank,
  ];
  expect(readFileSync(seen, 'utf8').split('\0').slice(0, -1)).toEqual([
    ...words('worker', '1'),
    ...words('start', '0'),
  ]);
  for (const rank of [0, 1]) {
    expect(JSON.parse(readFileSync(`${path}.${rank}`, 'utf8'))).toEqual({
      a: { b: hostile },
      env: { MODE: hostile },
    });
  }
  expect(() => execFileSync('sh', [launch, '2'], { env, stdio: 'pipe' })).toThrow(/there is no rank 2/);
  for (const name of ['launch.sh', 'config.toml']) {
    expect(readFileSync(join(directory, name), 'utf8')).not.toContain('hf_secret');
  }
  expect(readFileSync(join(directory, 'config.toml'), 'utf8')).toContain('PLAIN');
});

test.each(['vllm', 'sglang', 'llamacpp', 'emulator'])(
  'config.toml of %s has the values of the winner, also of the fields that the engine has by itself',
  async (engine) => {
    const directory = mkdtempSync(join(tmpdir(), 'optimizer-best-'));
    const own = { name: 'MAX_NUM_SEQS', config_position: 'env', dtype: 'int', min: 1, max: 300, value: 5 };
    const command = { model: '/models/one' };
    const values: Table = {
      engine,
      [engine]: engine === 'emulator' ? {} : { command, fields: 'standard', target_field: [own] },
      parallel: { service_groups: [{ group_id: 0, nodes: [{ host: 'a', device_type: 'gpu' }] }] },
    };
    const settingsOf = (document: Table) =>
      resolveSettings({ document: { values: document, origin: {}, files: [] }, flags: {} }, registry);
    const settings = settingsOf(values);
    const fields = ownFields(settings);
    const space = createSearchSpace(fields, settings.rules);
    const params = space.decode(
      Array.from({ length: space.dimensions }, (_, i) => (i + 0.5) / space.dimensions),
    );
    const group = new ServiceGroupConfig({ group_id: 0, nodes: [new NodeConfig({ host: 'a' })] });
    const topology = topologyOf(group, { runId: 'r', trialId: trialId(7), start: 0, sharesPaths: false });
    const plan = engineNamed(engine).plan(settings.engineConfig, params, topology);
    await writeBest(directory, {
      ...{ params, fields, topology, plan, needs: {}, document: values, engine, benchmark: 'builtin', quote },
    });
    const tuned = settingsOf(parseToml('best', readFileSync(join(directory, 'config.toml'), 'utf8')));
    const now = (some: readonly Field[]) => Object.fromEntries(some.map(({ name, value }) => [name, value]));
    expect(now(ownFields(tuned))).toEqual(params);
    expect(params).not.toEqual(now(fields));
    // What is searched stays as it was.
    const bounds = (some: readonly Field[]) =>
      new Map(some.map(({ name, min, max, dtype }) => [name, [min, max, dtype]]));
    expect(bounds(ownFields(tuned))).toEqual(bounds(fields));
  },
);
