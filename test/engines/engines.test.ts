import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { trialId } from '../../src/base/units.ts';
import { NodeConfig, ServiceGroupConfig } from '../../src/config/parallel-config.ts';
import { causeIn, diagnose, firstMatch } from '../../src/core/resilience/start-failure.ts';
import { createSearchSpace } from '../../src/core/space/space.ts';
import { fill } from '../../src/engines/arguments.ts';
import { engines } from '../../src/engines/index.ts';
import { layoutText, legalLayouts, parseLayout } from '../../src/engines/layout.ts';
import { llamacppEngine } from '../../src/engines/llamacpp/llamacpp.ts';
import { parseInspection } from '../../src/engines/mindie/inspection.ts';
import { mindieEngine } from '../../src/engines/mindie/mindie.ts';
import { sglangEngine } from '../../src/engines/sglang/sglang.ts';
import { vllmEngine } from '../../src/engines/vllm/vllm.ts';
import type { Engine, GroupTopology, LogPattern } from '../../src/parallel/ports.ts';
import { topologyOf } from '../../src/parallel/topology.ts';
import { hardwareOf, npuShareInUse, shareInUse } from '../../src/remote/node-inspection.ts';

const fixtures = join(import.meta.dirname, '../fixtures');
const recorded = (name: string): string => readFileSync(join(fixtures, 'recorded', name), 'utf8');
const flagsOf = (name: string): Set<string> => {
  const { flags } = JSON.parse(readFileSync(join(fixtures, 'cli', `${name}.json`), 'utf8')) as {
    flags: Record<string, { aliases?: string[] }>;
  };
  return new Set(Object.entries(flags).flatMap(([flag, { aliases = [] }]) => [flag, ...aliases]));
};

function topology(nodes: number, devices = 4, start = 0): GroupTopology {
  const ids = Array.from({ length: devices }, (_, i) => i);
  const config = new ServiceGroupConfig({
    group_id: 0,
    nodes: Array.from(
      { length: nodes },
      (_, i) => new NodeConfig({ host: `n${i}`, npu_ids: ids, device_type: 'gpu' }),
    ),
  });
  return topologyOf(config, { runId: 'r', trialId: trialId(0), start, sharesPaths: false });
}
const shape = { nodes: 2, devicesPerNode: 8, deviceType: 'gpu' } as const;
const whole = (engine: Engine, table: object): unknown => engine.config.parse(table);

const models = { command: { model: '/m', served_model_name: 'm' } };
const all: [Engine, object, string | undefined, number][] = [
  [vllmEngine, { ...models, fields: 'wide' }, 'vllm-serve', 2],
  [sglangEngine, { ...models, fields: 'wide' }, 'sglang-launch-server', 2],
  [llamacppEngine, { ...models, fields: 'wide' }, 'llama-server', 1],
  [mindieEngine, { fields: 'standard' }, undefined, 2],
];

describe.each(all)('$name', (engine, table, fixture, nodes) => {
  const config = whole(engine, table);
  const own = { ...shape, nodes };
  const space = createSearchSpace(engine.fieldsOf(config, own));

  test('its own fields make a space, and its presets lie in it', () => {
    expect(space.dimensions).toBeGreaterThanOrEqual(4);
    const presets = engine.presets?.(config, own) ?? [];
    expect(presets.length).toBeGreaterThanOrEqual(3);
    for (const { params } of presets) {
      expect(Object.keys(params).length).toBeGreaterThan(0);
      const position = space.encode({ ...space.current, ...params });
      for (const u of position) expect(u >= 0 && u <= 1).toBe(true);
    }
  });

  test('its constraints are formulas over its fields, and the present configuration keeps them', () => {
    const names = new Set(space.fields.map(({ name }) => name.toLowerCase()));
    const rules = (engine.constraints?.(config, own) ?? []).filter(({ expr }) =>
      (expr.match(/[a-z_]{3,}/g) ?? []).every((word) => names.has(word) || word.includes('fsixteen')),
    );
    for (const rule of rules) createSearchSpace(space.fields, { constraints: [rule] });
  });

  test.runIf(fixture !== undefined)(
    'every plan uses flags that the vendor declares, whatever the values',
    () => {
      const known = flagsOf(fixture ?? '');
      for (let i = 0; i < 40; i++) {
        const params = space.decode(
          Array.from({ length: space.dimensions }, (_, d) => ((i * 7 + d * 13) % 40) / 39),
        );
        const plan = engine.plan(config, params, topology(nodes));
        for (const { command } of plan.stages.flatMap(({ processes }) => processes)) {
          if (command.argv[0] === 'ray') continue;
          const flags = command.argv.filter((word) => /^--[a-z]/.test(word));
          expect(flags.filter((flag) => !known.has(flag))).toEqual([]);
          expect(new Set(flags).size).toBe(flags.length);
        }
      }
    },
  );
});

describe('layouts', () => {
  test('use all devices, and are read back as they are written', () => {
    for (const across of ['none', 'pipeline', 'data'] as const) {
      for (const experts of [false, true]) {
        const nodes = across === 'none' ? 1 : 2;
        const found = legalLayouts({ nodes, devicesPerNode: 8, across, experts });
        expect(found.length).toBeGreaterThan(2);
        for (const layout of found) {
          expect(layout.tp * layout.pp * layout.dp).toBe(8 * nodes);
          expect(parseLayout(layoutText(layout))).toEqual(layout);
        }
      }
    }
    expect(() => parseLayout('8x2')).toThrow(/is no layout/);
  });
});

describe('arguments', () => {
  const texts = new Map<string, string | undefined>([
    ['SEQS', '64'],
    ['EMPTY', ''],
    ['JSON', `--compilation-config {"a": 1}`],
  ]);
  test.each([
    [
      ['--max-num-seqs', '$SEQS'],
      ['--max-num-seqs', '64'],
    ],
    [
      ['--x=${SEQS}s', '$HOME'],
      ['--x=64s', '$HOME'],
    ],
    [
      ['--keep', 'a', '--drop', '$EMPTY', '--next'],
      ['--keep', 'a', '--next'],
    ],
    [['$JSON'], ['--compilation-config', '{"a": 1}']],
    [['a$EMPTY'], ['a']],
  ])('%j becomes %j', (given, expected) => {
    expect(fill(given, texts)).toEqual(expected);
  });
});

describe('what a service really runs with', () => {
  const readBack = (engine: Engine, nodes = 1): ((body: string) => unknown) => {
    const table = engine.name === 'mindie' ? {} : models;
    return engine.readBack!(whole(engine, table), {}, topology(nodes))!.parse;
  };

  test('vllm tells it in its configuration, older ones in their metrics, or not at all', () => {
    const parse = readBack(vllmEngine);
    expect(parse(recorded('server-info/vllm-server-info.json'))).toMatchObject({
      MAX_NUM_SEQS: { value: 256 },
      MAX_NUM_BATCHED_TOKENS: { value: 8192 },
      GPU_MEMORY_UTILIZATION: { value: 0.9, usual: 0.9 },
      LAYOUT: { value: 'tp2' },
    });
    expect(() => parse(recorded('server-info/vllm-server-info-text.json'))).toThrow(/is a text/);
    expect(parse('vllm:cache_config_info{block_size="16",enable_prefix_caching="True"} 1.0\n')).toEqual({
      BLOCK_SIZE: { value: '16' },
      ENABLE_PREFIX_CACHING: { value: 'True' },
    });
  });

  test('sglang, llama.cpp and mindie each in their own words', () => {
    expect(readBack(sglangEngine as Engine)(recorded('server-info/sglang-server-info.json'))).toMatchObject({
      MAX_RUNNING_REQUESTS: { value: 128 },
      MEM_FRACTION_STATIC: { value: 0.836 },
      LAYOUT: { value: 'tp1' },
    });
    expect(readBack(llamacppEngine as Engine)(recorded('server-info/llama-props.json'))).toEqual({
      PARALLEL: { value: 1 },
    });
    expect(readBack(mindieEngine as Engine)(recorded('server-info/mindie-info.json'))).toEqual({
      max_batch_size: { value: 200 },
      max_prefill_token: { value: 8192 },
    });
  });
});

describe('logs of real engines', () => {
  const lines = (name: string): string[] => recorded(`engine-logs/${name}.log`).split('\n');
  const cause = (patterns: readonly LogPattern[], name: string) => causeIn([lines(name)], patterns);
  const patternsOf = new Map(engines.map(({ name, logPatterns }) => [name, logPatterns]));

  test.each([
    ['vllm', 'vllm-oom', 'params', 'out of memory'],
    ['vllm', 'vllm-kv-too-small', 'params', 'KV cache'],
    ['vllm', 'vllm-ascend-oom', 'params', 'NPU out of memory'],
    ['sglang', 'sglang-not-enough-memory', 'params', 'Not enough memory'],
    ['llamacpp', 'llama-server-oom', 'params', 'buffer'],
    ['llamacpp', 'llama-server-oom-new', 'params', 'memory'],
    ['script', 'vllm-oom', 'params', 'out of memory'],
    ['script', 'sglang-not-enough-memory', 'params', 'Not enough memory'],
  ])('%s: %s is blamed on %s', (engine, log, blame, reason) => {
    const found = cause(patternsOf.get(engine) ?? [], log);
    expect(found?.blame).toBe(blame);
    expect(found?.reason.toLowerCase()).toContain(reason.toLowerCase());
  });

  test.each([
    ['vllm', 'vllm-ready'],
    ['sglang', 'sglang-ready'],
    ['llamacpp', 'llama-server-ready'],
    ['llamacpp', 'llama-server-ready-new'],
    ['mindie', 'mindie-ready'],
  ])('%s: nothing in %s ends a start', (engine, log) => {
    const fatal = (patternsOf.get(engine) ?? []).filter((pattern) => pattern.fatal);
    expect(firstMatch(lines(log), fatal)).toBeUndefined();
  });

  test('a wrapper ends the wait, and the cause is looked for in front of it and on the other nodes', () => {
    const patterns = mindieEngine.logPatterns;
    const fatal = firstMatch(
      lines('mindie-fail'),
      patterns.filter((one) => one.fatal),
    );
    expect(fatal?.pattern.wrapper).toBe(true);
    const death = { exitCode: undefined, patterns, groupProven: false, runProven: true, isCurrent: false };
    const here = ['ERR: Failed to init endpoint! Please check the service log or console output.'];
    expect(diagnose({ ...death, tail: here, elsewhere: [['Socket bind failed']] })).toMatchObject({
      blame: 'node',
      reason: 'Socket bind failed',
    });
    expect(diagnose({ ...death, tail: here })).toMatchObject({ blame: 'node' });
    expect(diagnose({ ...death, tail: here, groupProven: true })).toMatchObject({ blame: 'params' });
  });

  test('too little device memory is ambiguous', () => {
    const line =
      'ValueError: Free memory on device (2.1/64.0 GiB) on startup is less than desired GPU memory utilization (0.9, 57.6 GiB).';
    expect(causeIn([[line]], vllmEngine.logPatterns)).toMatchObject({ ambiguous: true });
    expect(shareInUse('0, 1024, 65536\n1, 60000, 65536\n2, [N/A], [N/A]\n', [0, 1, 2])).toBeCloseTo(
      0.9155,
      3,
    );
    expect(shareInUse('0, [N/A], [N/A]\n', [0])).toBeUndefined();
    const table = [
      '| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|',
      '| 0     910B3               | OK            | 92.1        38                0    / 0             |',
      '| 0                         | 0000:C1:00.0  | 0           0    / 0          3403 / 65536         |',
      '| 1     910B3               | OK            | 90.3        37                0    / 0             |',
      '| 0                         | 0000:01:00.0  | 0           0    / 0          60000/ 65536         |',
    ].join('\n');
    expect(npuShareInUse(table, [0])).toBeCloseTo(0.0519, 3);
    expect(npuShareInUse(table, [0, 1])).toBeCloseTo(0.9155, 3);
    expect(hardwareOf(table.split('\n'))).toBe('2 × 910B3, driver unknown');
  });

  test('the devices of a node and their driver, in words', () => {
    expect(hardwareOf(['NVIDIA H100 80GB HBM3, 550.54.15', 'NVIDIA H100 80GB HBM3, 550.54.15', ''])).toBe(
      '2 × NVIDIA H100 80GB HBM3, driver 550.54.15',
    );
    const npu = [
      '| npu-smi 24.1.rc2                 Version: 24.1.rc2                                            |',
      '| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|',
      '| 0     Ascend910           | OK            | 171.3       36                0    / 0             |',
      '| 0     0                   | 0000:9D:00.0  | 0           0    / 0          3145 / 65536         |',
      '| 1     Ascend910           | Warning       | -           36                0    / 0             |',
      '| 1     1                   | 0000:9F:00.0  | 0           0    / 0          2888 / 65536         |',
      '| 0       0                 | 4242          | python3                  | 103                     |',
    ];
    expect(hardwareOf(npu)).toBe('2 × Ascend910, driver 24.1.rc2');
    expect(hardwareOf(['No devices were found', '0, 1024, 65536'])).toBeUndefined();
  });
});

describe('mindie', () => {
  const model = {
    hidden_size: 4096,
    intermediate_size: 11008,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    num_key_value_heads: 8,
    vocab_size: 32000,
    max_position_embeddings: 4096,
    torch_dtype: 'float16',
  };
  const config = {
    BackendConfig: {
      ModelDeployConfig: { ModelConfig: [{ npuMemSize: -1, worldSize: 4 }] },
      ScheduleConfig: { maxBatchSize: 60, cacheBlockSize: 128, maxPrefillTokens: 8192 },
    },
  };
  const inspected = `daemon /usr/bin/mindie_llm_server
config /conf/config.json
env yes
ip 0 10.0.0.1
used 5
total 65536
--- config.json
${JSON.stringify(config)}
--- model
${JSON.stringify(model)}
`;

  test('what was found on a node', () => {
    expect(parseInspection(inspected)).toMatchObject({
      daemon: '/usr/bin/mindie_llm_server',
      knowsEnv: true,
      config,
      model,
      memory: { totalMb: 65536, usedPercent: 5 },
    });
    expect(parseInspection('daemon \nconfig \nenv no\n')).toMatchObject({
      daemon: undefined,
      configPath: undefined,
      config: undefined,
    });
  });

  test('fields take what the service runs with today, and bounds from its memory', () => {
    const settings = mindieEngine.config.parse({ fields: 'default' });
    const fields = mindieEngine.fieldsOf(settings, { ...shape, nodes: 1 });
    expect(fields.filter(({ config_position: position }) => position !== 'env')).toHaveLength(14);
    const master = { ...topology(1).nodes[0]!, inspected };
    const guidance = {
      theory: { memCoefficient: 0.8, scalingCoefficient: 1.3 },
      workload: { inputTokens: 2048, outputTokens: 512 },
    };
    const inspectedTopology = { ...topology(1), nodes: [master] };
    const refined = mindieEngine.refine!(settings, fields, inspectedTopology, guidance);
    const batch = refined.fields.find(({ name }) => name === 'max_batch_size');
    expect(batch?.value).toBe(60);
    expect(batch?.min).toBeGreaterThan(25);
    expect(batch?.max).toBeLessThanOrEqual(300);
    expect(refined.notes[0]).toContain('device memory');
    // The model has no experts and says nothing of layouts.
    expect(refined.fields.some(({ name }) => name === 'moe_tp' || name === 'dp')).toBe(false);
    createSearchSpace(refined.fields);
    const off = mindieEngine.refine!(settings, fields, inspectedTopology, {
      theory: undefined,
      workload: undefined,
    });
    expect(off.fields.find(({ name }) => name === 'max_batch_size')).toMatchObject({ min: 25, max: 300 });
  });
});
