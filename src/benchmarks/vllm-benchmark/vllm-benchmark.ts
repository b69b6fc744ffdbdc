import { words } from '../../base/words.ts';
import { z } from 'zod';
import { fieldsSchema } from '../../config/schema-tables.ts';
import { ignoredText, integer, list, table, text, withoutEffect } from '../../config/schema-types.ts';
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
import { isResult, parseVllmBench } from './parse.ts';

/** The `[vllm_benchmark]` table: the original's keys, where it runs, and which statistics are scored. */
export const vllmBenchmarkConfig = table({
  process_name: ignoredText(),
  output_path: ignoredText(),
  work_path: ignoredText(),
  performance_config: z.unknown().optional().describe(withoutEffect),
  executable: list(text(), 'the words of a command').default(['vllm']).describe('words of the command'),
  run_on: runOn().default('master').describe(runOnSays),
  ...scoredKeys,
  command: table({
    serving: text().default('').describe('a Python script in place of `vllm bench serve`'),
    backend: text().default('').describe('interface that is spoken to the service'),
    host: text().optional().describe(`${withoutEffect}: it follows from the group`),
    port: text().optional().describe(`${withoutEffect}: it follows from the group`),
    model: text().default('').describe('`--model` of the tool; the served name without it'),
    served_model_name: text().default('').describe('name that requests use'),
    dataset_name: text().default('random').describe('kind of the requests'),
    dataset_path: text().default('').describe('file of the requests'),
    num_prompts: integer({ above: 0 }).default(200).describe('requests of a measurement'),
    result_dir: text().default('').describe(withoutEffect),
    others: text().default('').describe('further words of the command line, as in a shell'),
  }).prefault({}),
  target_field: fieldsSchema().default([]).describe('[fields](../configuration.md#fields) of your own'),
});
export type VllmBenchmarkConfig = z.infer<typeof vllmBenchmarkConfig>;

const optional = (flag: string, value: string): string[] => (value === '' ? [] : [flag, value]);

function percentilesWanted({
  time_to_first_token: a,
  time_per_output_token: b,
}: VllmBenchmarkConfig): string[] {
  const wanted = [...new Set([a, b].filter((one) => one.startsWith('p')).map((one) => one.slice(1)))];
  return wanted.length === 0 ? [] : ['--metric-percentiles', [...new Set([...wanted, '99'])].join(',')];
}

/** The command of the original; the service that is measured is where it says what to measure. */
export function vllmBenchArguments(
  config: VllmBenchmarkConfig,
  target: BenchmarkTarget,
  { concurrency, requestRate }: AppliedLoad,
  prompts: number,
): string[] {
  const { command } = config;
  const { hostname, port, protocol } = new URL(target.baseUrl);
  const others = words(command.others, 'vllm_benchmark.command.others');
  const served = command.served_model_name === '' ? (target.model ?? '') : command.served_model_name;
  const usualPort = protocol === 'https:' ? '443' : '80';
  const start =
    command.serving === '' ? [...config.executable, 'bench', 'serve'] : ['python3', command.serving];
  return [
    ...start,
    ...optional('--backend', command.backend),
    ...['--host', hostname.replace(/^\[|\]$/g, ''), '--port', port === '' ? usualPort : port],
    ...optional('--model', command.model === '' ? served : command.model),
    ...optional('--served-model-name', served),
    ...['--dataset-name', command.dataset_name],
    ...optional('--dataset-path', command.dataset_path),
    ...['--num-prompts', String(prompts)],
    ...(concurrency === undefined ? [] : ['--max-concurrency', String(concurrency)]),
    ...(requestRate === undefined ? [] : ['--request-rate', String(requestRate)]),
    ...['--result-dir', '.', '--save-result'],
    ...(others.includes('--metric-percentiles') ? [] : percentilesWanted(config)),
    ...others,
  ];
}

const usualOutput = 128;
const flagsOfLengths = [
  ...['--num-warmups', '--output-len', '--random-input-len', '--random-output-len', '--random-range-ratio'],
  ...['--random-prefix-len', '--random-batch-size'],
];

/**
 * Of prompts at random an answer has at most so many; other kinds of requests say themselves how many they want. A warm-up
 * with as many requests as the measurement has a bar like its own.
 */
export function maxOutputTokens(
  { command }: VllmBenchmarkConfig,
  argv: readonly string[],
  prompts: number,
): number | undefined {
  if (command.dataset_name !== 'random' || numberAfter(argv, '--num-warmups') === prompts) return undefined;
  if (leavesLengthsOpen(words(command.others, 'vllm_benchmark.command.others'), flagsOfLengths))
    return undefined;
  const ratio = argv.some((word) => word.startsWith('--random-range-ratio'))
    ? numberAfter(argv, '--random-range-ratio')
    : 0;
  // A script of the user's may have another default.
  const usual = command.serving === '' ? usualOutput : undefined;
  const output = numberAfter(argv, '--output-len') ?? numberAfter(argv, '--random-output-len') ?? usual;
  return ratio === undefined || output === undefined ? undefined : Math.ceil(output * (1 + ratio));
}

/** `vllm bench serve` on the master node, or on the controller. */
export const vllmBenchmark: Benchmark<VllmBenchmarkConfig> = {
  name: 'vllm_benchmark',

  preview: (config, target, params) => ({
    where: config.run_on,
    argv: vllmBenchArguments(config, target, appliedLoad(params), config.command.num_prompts),
  }),

  async run(config, target, params, context) {
    const prompts = sampled(config.command.num_prompts, context);
    const argv = vllmBenchArguments(config, target, appliedLoad(params), prompts);
    const load = {
      requests: prompts,
      maxOutputTokens: maxOutputTokens(config, argv, prompts),
      scored: config,
    };
    const progress = new ToolProgress(load, context);
    const tool = { name: 'vllm_benchmark', where: config.run_on, argv, progress };
    const { files } = await runTool(tool, context, isResult);
    if (progress.ended !== undefined) return progress.ended;
    return { ...parseVllmBench(files, config), raw: noRaw };
  },

  [Symbol.asyncDispose]: async () => Promise.resolve(),
};
