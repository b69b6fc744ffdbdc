import { split } from 'shlex';
import { z } from 'zod';
import { fieldsSchema } from '../../config/schema.ts';
import { integer, list, oneOf, text } from '../../config/schema-types.ts';
import type { Benchmark, BenchmarkTarget } from '../../parallel/ports.ts';
import { statistic } from '../statistics.ts';
import { appliedLoad, noRaw, runTool, sampled, type AppliedLoad } from '../tool.ts';
import { parseSglangBench } from './parse.ts';

export const sglangBenchmarkConfig = z.strictObject({
  executable: list(text(), 'the words of a command').default(['python3', '-m', 'sglang.bench_serving']),
  run_on: oneOf('master', 'controller').default('master'),
  time_to_first_token: statistic(),
  time_per_output_token: statistic(),
  command: z
    .strictObject({
      backend: text().default('sglang-oai'),
      model: text().default(''),
      dataset_name: text().default('random'),
      dataset_path: text().default(''),
      num_prompts: integer({ above: 0 }).default(200),
      input_len: integer({ atLeast: 1 }).default(256),
      output_len: integer({ atLeast: 1 }).default(128),
      others: text().default(''),
    })
    .prefault({}),
  target_field: fieldsSchema().default([]),
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
    ...split(command.others),
  ];
}

/** `sglang.bench_serving` on the master node, or on the controller. */
export const sglangBenchmark: Benchmark<SglangBenchmarkConfig> = {
  name: 'sglang_benchmark',

  async run(config, target, params, context) {
    const prompts = sampled(config.command.num_prompts, context);
    const argv = sglangBenchArguments(config, target, appliedLoad(params), prompts);
    const tool = { name: 'sglang_benchmark', where: config.run_on, argv };
    const { files } = await runTool(tool, context, (path) => path === 'result.jsonl');
    const file = files[0] ?? { path: 'result.jsonl', text: '' };
    return { ...parseSglangBench(file, config, prompts), raw: noRaw };
  },

  [Symbol.asyncDispose]: async () => Promise.resolve(),
};
