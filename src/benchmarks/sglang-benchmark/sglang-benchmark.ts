import { words } from '../../base/words.ts';
import type { z } from 'zod';
import { fieldsSchema } from '../../config/schema-tables.ts';
import { integer, list, table, text } from '../../config/schema-types.ts';
import type { Benchmark, BenchmarkTarget } from '../../parallel/ports.ts';
import { scoredKeys } from '../statistics.ts';
import {
  appliedLoad,
  noRaw,
  leavesLengthsOpen,
  numberAfter,
  runOn,
  runOnSays,
  runTool,
  sampled,
  type AppliedLoad,
} from '../tool.ts';
import { ToolProgress } from '../tool-progress.ts';
import { parseSglangBench } from './parse.ts';

export const sglangBenchmarkConfig = table({
  executable: list(text(), 'the words of a command')
    .default(['python3', '-m', 'sglang.bench_serving'])
    .describe('words of the command'),
  run_on: runOn().default('master').describe(runOnSays),
  ...scoredKeys,
  command: table({
    backend: text().default('sglang-oai').describe('interface that is spoken to the service'),
    model: text().default('').describe('`--model` of the tool; the served name without it'),
    dataset_name: text().default('random').describe('kind of the requests'),
    dataset_path: text().default('').describe('file of the requests'),
    num_prompts: integer({ above: 0 }).default(200).describe('requests of a measurement'),
    input_len: integer({ atLeast: 1 }).default(256).describe('tokens of a prompt, of `random`'),
    output_len: integer({ atLeast: 1 }).default(128).describe('tokens of an answer, of `random`'),
    others: text().default('').describe('further words of the command line, as in a shell'),
  }).prefault({}),
  target_field: fieldsSchema().default([]).describe('[fields](../configuration.md#fields) of your own'),
});
export type SglangBenchmarkConfig = z.infer<typeof sglangBenchmarkConfig>;

export function sglangBenchArguments(
  { command, executable }: SglangBenchmarkConfig,
  target: BenchmarkTarget,
  { concurrency, requestRate }: AppliedLoad,
  prompts: number,
): string[] {
  const { input_len: input, output_len: output } = command;
  const model = command.model === '' ? (target.model ?? '') : command.model;
  const lengths = ['--random-input-len', String(input), '--random-output-len', String(output)];
  return [
    ...executable,
    ...['--backend', command.backend, '--base-url', target.baseUrl],
    ...(model === '' ? [] : ['--model', model]),
    ...['--dataset-name', command.dataset_name],
    ...(command.dataset_path === '' ? [] : ['--dataset-path', command.dataset_path]),
    ...(command.dataset_name.startsWith('random') ? [...lengths, '--random-range-ratio', '1.0'] : []),
    ...['--num-prompts', String(prompts)],
    ...(concurrency === undefined ? [] : ['--max-concurrency', String(concurrency)]),
    ...(requestRate === undefined ? [] : ['--request-rate', String(requestRate)]),
    ...['--output-file', 'result.jsonl'],
    ...words(command.others, 'sglang_benchmark.command.others'),
  ];
}

const flagsOfLengths = ['--random-input-len', '--random-output-len', '--random-range-ratio', '--output-file'];

/** Of prompts at random an answer has at most so many; other kinds of requests say themselves how many they want. */
export function maxOutputTokens(
  { command }: SglangBenchmarkConfig,
  argv: readonly string[],
): number | undefined {
  const own = words(command.others, 'sglang_benchmark.command.others');
  const isKnown = command.dataset_name.startsWith('random') && !leavesLengthsOpen(own, flagsOfLengths);
  return isKnown ? numberAfter(argv, '--random-output-len') : undefined;
}

/** `sglang.bench_serving` on the master node, or on the controller. */
export const sglangBenchmark: Benchmark<SglangBenchmarkConfig> = {
  name: 'sglang_benchmark',

  preview: (config, target, params) => ({
    where: config.run_on,
    argv: sglangBenchArguments(config, target, appliedLoad(params), config.command.num_prompts),
  }),

  async run(config, target, params, context) {
    const prompts = sampled(config.command.num_prompts, context);
    const argv = sglangBenchArguments(config, target, appliedLoad(params), prompts);
    const load = { requests: prompts, maxOutputTokens: maxOutputTokens(config, argv), scored: config };
    const progress = new ToolProgress(load, context);
    const tool = { name: 'sglang_benchmark', where: config.run_on, argv, progress };
    const { files } = await runTool(tool, context, (path) => path === 'result.jsonl');
    if (progress.ended !== undefined) return progress.ended;
    const file = files[0] ?? { path: 'result.jsonl', text: '' };
    return { ...parseSglangBench(file, config, prompts), raw: noRaw };
  },

  [Symbol.asyncDispose]: async () => Promise.resolve(),
};
