import { z } from 'zod';
import { ConfigurationError } from '../../base/errors.ts';
import { words } from '../../base/words.ts';
import { fieldsSchema } from '../../config/schema-tables.ts';
import { environment, integer, list, oneOf, table, text } from '../../config/schema-types.ts';
import { parseExpression } from '../../core/space/expression.ts';
import type { Benchmark, BenchmarkTarget } from '../../parallel/ports.ts';
import { appliedLoad, noRaw, runOn, runOnSays, runTool, sampled, type AppliedLoad } from '../tool.ts';
import { factors, parseCommand, percentileName, type Unit } from './parse.ts';

const unitNames = Object.keys(factors) as [Unit, ...Unit[]];

/** A formula over the document, such as `metrics.requests.successful / metrics.requests.total`. */
const metric = table({
  value: text(),
  unit: oneOf(...unitNames),
});

/** The `[command]` table: any command that prints or writes JSON, and where its numbers are. */
export const commandConfig = table({
  command: text().default('').describe('the command line, with placeholders'),
  run_on: runOn().default('controller').describe(runOnSays),
  num_prompts: integer({ above: 0 }).default(200).describe('requests of a measurement'),
  result: text().default('').describe('file of its directory with the document; without one, what it prints'),
  env: environment().default({}).describe('environment variables of the command'),
  metrics: table({
    generate_speed: metric
      .optional()
      .describe('output tokens a second: `value`, a formula over the document, and its `unit`'),
    time_to_first_token: metric
      .optional()
      .describe('TTFT: `value`, a formula over the document, and its `unit`'),
    time_per_output_token: metric
      .optional()
      .describe('TPOT: `value`, a formula over the document, and its `unit`'),
    success_rate: metric
      .optional()
      .describe('share of requests that succeeded: `value`, a formula over the document, and its `unit`'),
    throughput: metric
      .optional()
      .describe('requests a second: `value`, a formula over the document, and its `unit`'),
  }).prefault({}),
  percentiles: z
    .record(z.string(), text(), { error: 'a table of formulas' })
    .default({})
    .describe('formulas of further statistics, in ms: `p99_ttft_ms = "…"`'),
  target_field: fieldsSchema().default([]).describe('[fields](../configuration.md#fields) of your own'),
  before: list(text(), 'words')
    .default([])
    .describe('words that stand before the command, such as a launcher'),
});
export type CommandConfig = z.infer<typeof commandConfig>;

/** Placeholders of the command; a word whose placeholder has no value goes, and the flag before it. */
export function commandArguments(
  config: CommandConfig,
  target: BenchmarkTarget,
  { concurrency, requestRate }: AppliedLoad,
  prompts: number,
): string[] {
  const { hostname, port } = new URL(target.baseUrl);
  const values: Readonly<Record<string, string | undefined>> = {
    base_url: target.baseUrl,
    host: hostname.replace(/^\[|\]$/g, ''),
    port: port === '' ? '80' : port,
    model: target.model,
    concurrency: concurrency?.toString(),
    request_rate: requestRate?.toString(),
    num_prompts: String(prompts),
    result: config.result,
  };
  const filled: string[] = [];
  for (const word of words(config.command, 'command.command')) {
    const names = [...word.matchAll(/\{(\w+)\}/g)].map(([, name]) => name as string);
    const absent = names.some((name) => name in values && values[name] === undefined);
    if (absent) {
      if (/^--?[A-Za-z]/.test(filled.at(-1) ?? '') && word.startsWith('{')) filled.pop();
      continue;
    }
    filled.push(word.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole));
  }
  return [...config.before, ...filled];
}

function check(config: CommandConfig): void {
  const remedy = 'See docs/benchmarks/command.md.';
  if (config.command.trim() === '')
    throw new ConfigurationError('command.command is missing', {}, { remedy });
  const { generate_speed: speed, success_rate: success } = config.metrics;
  if (speed === undefined || success === undefined) {
    throw new ConfigurationError(
      'command.metrics needs at least generate_speed and success_rate',
      {},
      { remedy },
    );
  }
  for (const name of Object.keys(config.percentiles)) {
    if (percentileName.test(name)) continue;
    throw new ConfigurationError(`command.percentiles.${name} is no name like p99_ttft_ms`, {}, { remedy });
  }
  const formulas = [
    ...Object.values(config.metrics).map((one) => one?.value),
    ...Object.values(config.percentiles),
  ];
  for (const formula of formulas) if (formula !== undefined) parseExpression(formula);
}

/** Any load tool, by a mapping of its numbers. */
export const commandBenchmark: Benchmark<CommandConfig> = {
  name: 'command',
  check,

  preview: (config, target, params) => ({
    where: config.run_on,
    argv: commandArguments(config, target, appliedLoad(params), config.num_prompts),
  }),

  async run(config, target, params, context) {
    const prompts = sampled(config.num_prompts, context);
    const argv = commandArguments(config, target, appliedLoad(params), prompts);
    const tool = { name: 'command', where: config.run_on, argv, env: config.env };
    const { stdout, files } = await runTool(tool, context, (path) => path === config.result);
    const printed = { path: 'stdout', text: stdout };
    const file = config.result === '' ? printed : (files.at(-1) ?? { path: config.result, text: '' });
    return { ...parseCommand(config, file, prompts), raw: noRaw };
  },

  [Symbol.asyncDispose]: async () => Promise.resolve(),
};
