import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { aisBenchArguments, aisBenchConfig } from '../../src/benchmarks/ais-bench/ais-bench.ts';
import { isResult as isAisResult, measured, parseAisBench } from '../../src/benchmarks/ais-bench/parse.ts';
import { commandArguments, commandBenchmark, commandConfig } from '../../src/benchmarks/command/command.ts';
import { parseCommand } from '../../src/benchmarks/command/parse.ts';
import { parseSglangBench } from '../../src/benchmarks/sglang-benchmark/parse.ts';
import {
  sglangBenchArguments,
  sglangBenchmarkConfig,
} from '../../src/benchmarks/sglang-benchmark/sglang-benchmark.ts';
import { isResult, parseVllmBench } from '../../src/benchmarks/vllm-benchmark/parse.ts';
import {
  vllmBenchArguments,
  vllmBenchmarkConfig,
} from '../../src/benchmarks/vllm-benchmark/vllm-benchmark.ts';
import { appliedLoad } from '../../src/benchmarks/tool.ts';

const fixtures = join(import.meta.dirname, '../fixtures');
const recorded = (path: string) => ({ path, text: readFileSync(join(fixtures, 'recorded', path), 'utf8') });
const flagsOf = (name: string): Set<string> => {
  const { flags } = JSON.parse(readFileSync(join(fixtures, 'cli', `${name}.json`), 'utf8')) as {
    flags: Record<string, { aliases?: string[] }>;
  };
  return new Set(Object.entries(flags).flatMap(([flag, { aliases = [] }]) => [flag, ...aliases]));
};
const target = { baseUrl: 'http://10.0.0.1:8000', model: 'm' };
const load = appliedLoad({ CONCURRENCY: 32, REQUESTRATE: 7.5 });
const free = appliedLoad({ REQUESTRATE: 0 });
const mean = { time_to_first_token: 'mean', time_per_output_token: 'mean' } as const;

describe('vllm_benchmark', () => {
  test('its results are read from recorded files', () => {
    const { performance, percentiles, numPrompts } = parseVllmBench(
      [recorded('vllm-bench-serve.json')],
      mean,
    );
    expect(performance.generate_speed).toBeCloseTo(124.585, 2);
    expect(performance.time_to_first_token).toBeCloseTo(0.09751, 4);
    expect(performance.time_per_output_token).toBeCloseTo(0.034435, 5);
    expect(performance.success_rate).toBe(199 / 200);
    expect(numPrompts).toBe(200);
    expect(percentiles.ttft_ms).toMatchObject({ p99: expect.closeTo(113.886, 2) as number });
  });

  test('an older file has no failures, an appended one several documents', () => {
    const old = parseVllmBench([recorded('vllm-bench-serve-old.json')], mean);
    expect(old.performance.success_rate).toBeGreaterThan(0);
    const appended = parseVllmBench([recorded('vllm-bench-serve-appended.json')], mean);
    expect(appended.performance.generate_speed).toBeCloseTo(125.792, 2);
  });

  test('a percentile may be scored; one that was not reported is not made up', () => {
    const p99 = parseVllmBench([recorded('vllm-bench-serve.json')], { ...mean, time_to_first_token: 'p99' });
    expect(p99.performance.time_to_first_token).toBeCloseTo(0.113886, 5);
    const p90 = parseVllmBench([recorded('vllm-bench-serve.json')], { ...mean, time_to_first_token: 'p90' });
    expect(p90.performance.time_to_first_token).toBeNull();
  });

  test.each([
    ['', /it holds no document|it is empty/],
    ['{"completed": 1', /it begins with: \{"completed"/],
    ['{"completed": 10, "output_throughput": null, "request_throughput": 1}', /output_throughput is null/],
    ['{"completed": 10, "request_throughput": 1}', /output_throughput is undefined/],
  ])('garbage %j is an error with the file, never a zero', (text, message) => {
    expect(() => parseVllmBench([{ path: 'r.json', text }], mean)).toThrow(message);
  });

  test('the command has flags that the tool knows', () => {
    const config = vllmBenchmarkConfig.parse({
      time_to_first_token: 'p95',
      command: { backend: 'vllm', model: '/m', num_prompts: 50, dataset_path: '/d' },
    });
    const argv = vllmBenchArguments(config, target, load, 50);
    const known = flagsOf('vllm-bench-serve');
    expect(argv.filter((word) => word.startsWith('--') && !known.has(word))).toEqual([]);
    expect(argv.join(' ')).toContain('--host 10.0.0.1 --port 8000 --model /m --served-model-name m');
    expect(argv.join(' ')).toContain('--max-concurrency 32 --request-rate 7.5');
    expect(argv.join(' ')).toContain('--metric-percentiles 95,99');
    expect(vllmBenchArguments(config, target, free, 50)).not.toContain('--request-rate');
    expect(
      vllmBenchArguments(
        { ...config, command: { ...config.command, serving: 'b.py' } },
        target,
        load,
        5,
      ).slice(0, 4),
    ).toEqual(['python3', 'b.py', '--backend', 'vllm']);
    expect([isResult('a.json'), isResult('a.pytorch.json'), isResult('a.txt')]).toEqual([true, false, false]);
  });
});

describe('sglang_benchmark', () => {
  const config = sglangBenchmarkConfig.parse({});
  test('one line a run, also with words that JSON does not know', () => {
    const first = parseSglangBench(recorded('sglang-bench-serving.jsonl'), config, 1000);
    expect(first.performance).toMatchObject({
      generate_speed: expect.closeTo(957.162, 2) as number,
      success_rate: 1,
    });
    expect(first.percentiles.e2el_ms).toMatchObject({ p99: expect.closeTo(9813.9, 1) as number });
    const newer = parseSglangBench(recorded('sglang-bench-serving-new.jsonl'), config, 1000);
    expect(newer.performance.generate_speed).toBeGreaterThan(0);
    expect(() => parseSglangBench({ path: 'r', text: '\n' }, config, 1)).toThrow(/no line/);
  });
  test('the command has flags that the tool knows', () => {
    const known = flagsOf('sglang-bench-serving');
    const argv = sglangBenchArguments(config, target, load, 10);
    expect(argv.filter((word) => word.startsWith('--') && !known.has(word))).toEqual([]);
  });
});

describe('ais_bench', () => {
  const rules = {
    ttft: { metric: 'TTFT', algorithm: 'average' },
    tpot: { metric: 'TPOT', algorithm: 'average' },
    concurrencyCoefficient: 3,
    concurrencyThreshold: 200,
  };
  const root = 'ais-bench/performances/vllm-api-stream-chat/demo_gsm8k';
  const files = [recorded(`${root}.csv`), recorded(`${root}.json`)];

  test('tables with units in their cells', () => {
    const { performance, percentiles, bestConcurrency, flags } = parseAisBench(files, rules);
    expect(performance).toMatchObject({
      generate_speed: 41.622,
      time_to_first_token: expect.closeTo(2.006, 6) as number,
      success_rate: 1,
      throughput: 0.0813,
    });
    expect(performance.time_per_output_token).toBeCloseTo(0.0201, 5);
    expect(percentiles.ttft_ms).toMatchObject({ mean: expect.closeTo(2006, 6) as number });
    expect(bestConcurrency).toBe(200);
    expect(flags).toEqual([]);
  });

  test.each([
    ['12.3 ms', 0.0123],
    ['5 us', 5e-6],
    ['41.6 token/s', 41.6],
    ['7', 7],
    ['', undefined],
    ['n/a', undefined],
  ])('%j is %j', (cell, value) => {
    if (value === undefined) expect(measured(cell)).toBeUndefined();
    else expect(measured(cell)).toBeCloseTo(value, 9);
  });

  test('a column that the user left out is named with those that are there', () => {
    const p95 = { ...rules, ttft: { metric: 'TTFT', algorithm: 'P95' } };
    expect(() => parseAisBench(files, p95)).toThrow(/TTFT has no column P95; there are average, min/);
    expect(() => parseAisBench([], rules)).toThrow(/no .csv and .json/);
  });

  test('a run without a steady stage says so', () => {
    const short = JSON.parse(files[1]!.text) as Record<string, { total: unknown }>;
    short['Benchmark Duration'] = { total: '20000 ms' };
    const { flags } = parseAisBench([files[0]!, { path: 'x.json', text: JSON.stringify(short) }], rules);
    expect(flags[0]).toContain('no steady stage');
  });

  test('the command has flags that the tool knows', () => {
    const argv = aisBenchArguments(aisBenchConfig.parse({}), target, load, 10);
    const known = flagsOf('ais-bench');
    expect(argv.filter((word) => /^--[a-z]/.test(word) && !known.has(word))).toEqual([]);
    expect(argv.slice(5, 10)).toEqual(['vllm_api_stream_chat', '7.5', '32', '10.0.0.1', '8000']);
    expect([
      isAisResult('default/x/performances/m/d.csv'),
      isAisResult('performance/m/d.json'),
      isAisResult('performances/m/d_details.jsonl'),
    ]).toEqual([true, true, false]);
  });
});

describe('command', () => {
  const config = (more: object): ReturnType<typeof commandConfig.parse> =>
    commandConfig.parse({ command: 'tool --url {base_url} --rate {request_rate} -c {concurrency}', ...more });

  test('words whose placeholder has no value go, and the flag before them', () => {
    expect(commandArguments(config({}), target, load, 5)).toEqual([
      'tool',
      '--url',
      'http://10.0.0.1:8000',
      '--rate',
      '7.5',
      '-c',
      '32',
    ]);
    expect(commandArguments(config({}), target, appliedLoad({}), 5)).toEqual([
      'tool',
      '--url',
      'http://10.0.0.1:8000',
    ]);
  });

  test('a formula that gives no number is an error with the file', () => {
    const metrics = {
      generate_speed: { value: 'a.b[0]', unit: 'tok/s' },
      success_rate: { value: '1', unit: 'share' },
    };
    const table = config({ metrics });
    expect(parseCommand(table, { path: 'x', text: '{"a": {"b": [5]}}' }, 1).performance.generate_speed).toBe(
      5,
    );
    expect(
      parseCommand(table, { path: 'x', text: 'noise\n{"a": {"b": [5]}}\n' }, 1).performance.generate_speed,
    ).toBe(5);
    expect(() => parseCommand(table, { path: 'x', text: '{"a": 1}' }, 1)).toThrow(
      /generate_speed = a.b\[0\] gives undefined/,
    );
    expect(() => parseCommand(table, { path: 'x', text: 'nothing' }, 1)).toThrow(/no JSON document/);
    expect(() => commandBenchmark.check!(config({}))).toThrow(/needs at least generate_speed/);
  });

  test('a formula reads data and nothing else', () => {
    for (const value of ['a.constructor', 'a["__proto__"].x', 'document.toString']) {
      const table = config({
        metrics: { generate_speed: { value, unit: 'tok/s' }, success_rate: { value: '1', unit: 'share' } },
      });
      expect(() => parseCommand(table, { path: 'x', text: '{"a": {}}' }, 1)).toThrow(/gives undefined/);
    }
    for (const value of ['process.exit()', 'a = 1', '(() => 1)()', '`x`', 'this']) {
      const table = config({
        metrics: { generate_speed: { value, unit: 'tok/s' }, success_rate: { value: '1', unit: 'share' } },
      });
      expect(() => commandBenchmark.check!(table), value).toThrow();
    }
  });
});
