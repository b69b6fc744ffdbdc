import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isResult as isAisResult, parseAisBench, type Choice } from '../../src/benchmarks/ais-bench/parse.ts';
import { parseCommand, type Mapping } from '../../src/benchmarks/command/parse.ts';
import { parseSglangBench } from '../../src/benchmarks/sglang-benchmark/parse.ts';
import { isResult, parseVllmBench } from '../../src/benchmarks/vllm-benchmark/parse.ts';
import type { BenchmarkResult } from '../../src/parallel/ports.ts';
import { almost, answersOrExplains, documentWith, read } from './arbitraries.ts';

/** Numbers, or null where a tool did not say. */
function expectNumbers({ performance }: Pick<BenchmarkResult, 'performance'>): void {
  for (const value of Object.values(performance)) {
    if (value !== null) expect(Number.isFinite(value)).toBe(true);
  }
}

const anything = fc.jsonValue({ maxDepth: 2 }).map((value) => JSON.stringify(value));
const scored = fc.record({
  time_to_first_token: fc.constantFrom('mean' as const, 'p99' as const),
  time_per_output_token: fc.constantFrom('mean' as const, 'p90' as const),
});
const recorded = 'test/fixtures/recorded';

describe('benchmark outputs', () => {
  const flat = {
    ...{ completed: 10, failed: 0, num_prompts: 10, request_throughput: 1, output_throughput: 100 },
    ...{ mean_ttft_ms: 10, mean_tpot_ms: 5, p99_ttft_ms: 20, p90_tpot_ms: 9, request_goodput: 1 },
  };

  test('of vllm bench serve', () => {
    const names = ['vllm-bench-serve.json', 'vllm-bench-serve-old.json', 'vllm-bench-serve-appended.json'];
    const valid = names.map((name) => read(`${recorded}/${name}`));
    const texts = almost(valid, documentWith(flat), anything);
    type Case = [{ path: 'result.json'; text: string }[], typeof both];
    const both = { time_to_first_token: 'mean', time_per_output_token: 'mean' } as const;
    const nothing = { ...flat, completed: 0 };
    const old = { ...flat, failed: undefined, num_prompts: undefined, request_goodput: undefined };
    const file = (document: object, after = ''): Case[0][number] => ({
      path: 'result.json',
      text: `${JSON.stringify(document)}${after}`,
    });
    answersOrExplains(
      ([files, by]) => {
        const results = files.filter(({ path }) => isResult(path));
        expectNumbers(parseVllmBench(results, by));
      },
      fc.tuple(
        fc.array(fc.record({ path: fc.constantFrom('result.json', 'x.pytorch.json'), text: texts }), {
          maxLength: 2,
        }),
        scored,
      ),
      /result/,
      [
        [[], both],
        ...[nothing, old, flat].map((document): Case => [[file(document)], both]),
        [[file(flat, '\n'), file(flat)], both],
      ],
    );
  });

  test('of sglang.bench_serving', () => {
    const valid = ['', '-new'].map((name) => read(`${recorded}/sglang-bench-serving${name}.jsonl`));
    answersOrExplains(
      ([text, by]) => expectNumbers(parseSglangBench({ path: 'result.jsonl', text }, by, 10)),
      fc.tuple(almost(valid, documentWith(flat), anything), scored),
      /result\.jsonl/,
    );
  });

  test('of any command', () => {
    const table: Mapping = {
      metrics: {
        generate_speed: { value: 'metrics.speed', unit: 'tok/s' },
        success_rate: { value: 'min(ok / all, 1)', unit: 'share' },
        time_to_first_token: { value: 'ttft > 0 ? ttft : 1', unit: 'ms' },
      },
      percentiles: { p99_ttft_ms: 'list[0]' },
    };
    const usual = { metrics: { speed: 3 }, ok: 9, all: 10, ttft: 5, list: [7] };
    answersOrExplains(
      (text) => expectNumbers(parseCommand(table, { path: 'stdout', text }, 10)),
      almost([JSON.stringify(usual)], documentWith(usual), anything),
      /stdout/,
    );
  });

  test('of ais_bench', () => {
    const header = 'Performance Parameters,Stage,Average,Min,Max,Median,P75,P90,P99,N';
    const cell = fc.constantFrom('2 s', '1.5 ms', '3 us', '-', '', '1e999 ms', '4', '7 parsec', 'nan');
    const row = fc
      .tuple(
        fc.constantFrom('E2EL', 'TTFT', 'TPOT', 'ITL', 'Other'),
        fc.constantFrom('total', 'stable'),
        fc.array(cell, { minLength: 8, maxLength: 8 }),
      )
      .map(([metric, stage, cells]) => [metric, stage, ...cells].join(','));
    const table = [
      header,
      ...['E2EL', 'TTFT', 'TPOT'].map((name) => `${name},total${',2 ms'.repeat(8)}`),
    ].join('\n');
    const common = {
      'Benchmark Duration': { total: '100 ms' },
      'Total Requests': { total: 4 },
      'Success Requests': { total: 4 },
      'Failed Requests': { total: 0 },
      Concurrency: { total: 2 },
      'Max Concurrency': { total: 4 },
      'Output Token Throughput': { total: '10 token/s' },
      'Request Throughput': { total: '1 req/s' },
    };
    const busy = { ...common, 'Total Requests': { total: 0 }, Concurrency: { total: 90 } };
    // Often one of the two files is as it should be: the other is read as well.
    const tables = almost(
      [table],
      fc.constant(table),
      fc.array(row, { maxLength: 5 }).map((rows) => [header, ...rows].join('\n')),
    );
    const documents = almost(
      [JSON.stringify(common)],
      fc.constant(JSON.stringify(common)),
      documentWith(common),
      documentWith(busy),
      anything,
    );
    const choice = fc.record({
      metric: fc.constantFrom('TTFT', 'TPOT', 'Gone'),
      algorithm: fc.constantFrom('average', 'P99', 'P42'),
    });
    const folder = 'outputs/default/t/performances/m';
    const listed = fc.constantFrom(
      [`${folder}/d.csv`, `${folder}/d.json`],
      [`${folder}/d.csv`, `${folder}/d_details.json`],
      ['d.csv', `${folder}/d.json`],
    );
    type Case = [string, string, readonly string[], Choice, Choice];
    const average: Choice = { metric: 'TTFT', algorithm: 'average' };
    const usual = (csv: string, document: object, ttft = average): Case => [
      csv,
      JSON.stringify(document),
      [`${folder}/d.csv`, `${folder}/d.json`],
      ttft,
      { ...average, metric: 'TPOT' },
    ];
    answersOrExplains<Case>(
      ([csv, json, [first = '', second = ''], ttft, tpot]) => {
        const files = [
          { path: first, text: csv },
          { path: second, text: json },
        ].filter(({ path }) => isAisResult(path));
        const rules = { ttft, tpot, concurrencyCoefficient: 3, concurrencyThreshold: 100 };
        expectNumbers(parseAisBench(files, rules));
      },
      fc.tuple(tables, documents, listed, choice, choice),
      /performances/,
      [
        ...[common, busy, { ...common, Concurrency: {} }, { ...common, 'Max Concurrency': {} }].map(
          (document) => usual(table, document),
        ),
        usual(table, { ...common, Concurrency: { total: 90 } }),
        usual(table, {}),
        usual(header, common),
        usual(table, common, { metric: 'TTFT', algorithm: 'P42' }),
        usual([header, `TTFT,stable${',2 ms'.repeat(8)}`, `TPOT,total${',-'.repeat(8)}`].join('\n'), common),
      ],
    );
  });
});
