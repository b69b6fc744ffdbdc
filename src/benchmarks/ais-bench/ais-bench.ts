import type { z } from 'zod';
import { fieldsSchema } from '../../config/schema-tables.ts';
import { ignoredText, integer, list, table, text, withoutEffect } from '../../config/schema-types.ts';
import type { Benchmark, BenchmarkTarget } from '../../parallel/ports.ts';
import { appliedLoad, noRaw, runOn, runOnSays, runTool, sampled, type AppliedLoad } from '../tool.ts';
import { isResult, parseAisBench } from './parse.ts';

const choice = (metric: string) =>
  table({
    metric: text().default(metric).describe('name in its tables'),
    algorithm: text().default('average').describe('statistic that is scored'),
  }).prefault({});

/** The `[ais_bench]` table: the original's keys, and where it runs. */
export const aisBenchConfig = table({
  process_name: ignoredText(),
  output_path: ignoredText(),
  work_path: ignoredText(),
  executable: list(text(), 'the words of a command').default(['ais_bench']).describe('words of the command'),
  run_on: runOn().default('master').describe(runOnSays),
  model_config: text()
    .default('')
    .describe('the Python file of the configuration of its model; found by its name where it is not given'),
  command: table({
    models: text().default('vllm_api_stream_chat').describe('name of a model configuration of AISBench'),
    datasets: text().default('synthetic_gen').describe('name of a dataset configuration'),
    mode: text().default('perf').describe('of AISBench'),
    num_prompts: integer({ above: 0, atMost: 1_000_000 }).default(3000).describe('requests of a measurement'),
    work_dir: text().default('').describe('where it writes its results'),
  }).prefault({}),
  performance_config: table({
    time_to_first_token: choice('TTFT').describe('statistic of TTFT that is scored'),
    time_per_output_token: choice('TPOT').describe('statistic of TPOT that is scored'),
  }).prefault({}),
  best_concurrency_coefficient: integer()
    .default(3)
    .describe('factor on the concurrency that was reached: the one that is suggested for the next stage'),
  best_concurrency_threshold: integer().default(200).describe('the least that is suggested'),
  model: ignoredText(),
  path: ignoredText(),
  host_ip: ignoredText(),
  host_port: integer().optional().describe(withoutEffect),
  max_out_len: integer().optional().describe(withoutEffect),
  target_field: fieldsSchema().default([]).describe('[fields](../configuration.md#fields) of your own'),
});
export type AisBenchConfig = z.infer<typeof aisBenchConfig>;

/**
 * The load of ais_bench is in the Python file of its model. It is put back when the run ends, however it ends.
 * $1 the file or nothing, $2 its name, $3 rate, $4 concurrency, $5 host, $6 port; then the command.
 */
const script = `file=$1 name=$2 rate=$3 batch=$4 host=$5 port=$6
shift 6
if [ -z "$file" ]; then
  package=$(python3 -c 'import importlib.util as u; print(next(iter(u.find_spec("ais_bench").submodule_search_locations)))' 2>/dev/null) || package=
  [ -n "$package" ] && file=$(find "$package" -type f -name "$name.py" -path '*configs/models*' 2>/dev/null | head -n 1)
fi
[ -f "$file" ] || { echo "the configuration of the model $name was not found: set model_config in [ais_bench]" >&2; exit 78; }
original=$(mktemp) || exit 73
cp -p -- "$file" "$original" || exit 73
restore() { cat -- "$original" >"$file"; rm -f -- "$original"; }
trap 'restore' EXIT
trap 'kill -s TERM $tool 2>/dev/null; wait $tool; exit 143' TERM INT HUP
sed -e "s/request_rate *= *[^,]*,/request_rate = $rate,/" -e "s/batch_size *= *[^,]*,/batch_size = $batch,/" \\
  -e "s/host_ip *= *[^,]*,/host_ip = \\"$host\\",/" -e "s/host_port *= *[^,]*,/host_port = $port,/" "$original" >"$file" || exit 73
"$@" & tool=$!
wait $tool`;

export function aisBenchArguments(
  config: AisBenchConfig,
  target: BenchmarkTarget,
  { concurrency, requestRate }: AppliedLoad,
  prompts: number,
): string[] {
  const { command } = config;
  const { hostname, port } = new URL(target.baseUrl);
  const load = [requestRate ?? 0, concurrency ?? 1000].map(String);
  return [
    ...['sh', '-c', script, 'sh', config.model_config, command.models, ...load],
    ...[hostname.replace(/^\[|\]$/g, ''), port === '' ? '80' : port],
    ...[...config.executable, '--models', command.models, '--datasets', command.datasets],
    ...['--mode', command.mode, '--num-prompts', String(prompts), '--work-dir', '.', '--debug'],
  ];
}

/** `ais_bench` on the master node, or on the controller. */
export const aisBench: Benchmark<AisBenchConfig> = {
  name: 'ais_bench',

  preview: (config, target, params) => ({
    where: config.run_on,
    argv: aisBenchArguments(config, target, appliedLoad(params), config.command.num_prompts),
  }),

  async run(config, target, params, context) {
    const prompts = sampled(config.command.num_prompts, context);
    const argv = aisBenchArguments(config, target, appliedLoad(params), prompts);
    const { files } = await runTool({ name: 'ais_bench', where: config.run_on, argv }, context, isResult);
    const { bestConcurrency, ...result } = parseAisBench(files, {
      ttft: config.performance_config.time_to_first_token,
      tpot: config.performance_config.time_per_output_token,
      concurrencyCoefficient: config.best_concurrency_coefficient,
      concurrencyThreshold: config.best_concurrency_threshold,
    });
    const hint = bestConcurrency === undefined ? [] : [`best concurrency ${bestConcurrency}`];
    return { ...result, flags: [...result.flags, ...hint], raw: noRaw };
  },

  [Symbol.asyncDispose]: async () => Promise.resolve(),
};
