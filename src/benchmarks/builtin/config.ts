import { z } from 'zod';
import type { Workload } from '../../config/validate.ts';
import { runOn, runOnSays } from '../tool.ts';
import { scoredKeys } from '../statistics.ts';
import { boolean, integer, number, oneOf, seconds, table, text } from '../../config/schema-types.ts';

const length = (): z.ZodType<number | { mean: number; std: number; min: number; max: number }> =>
  z.union(
    [
      integer({ atLeast: 1 }),
      table({
        mean: number({ above: 0 }),
        std: number({ atLeast: 0 }).default(0),
        min: integer({ atLeast: 1 }).default(1),
        max: integer({ atLeast: 1 }).default(1_000_000),
      }),
    ],
    { error: 'a whole number of tokens, or { mean, std, min, max }' },
  );

export const builtinConfig = table({
  endpoint: oneOf('completions', 'chat').default('completions').describe('interface of the requests'),
  num_prompts: integer({ atLeast: 1 }).default(200).describe('requests of a measurement'),
  num_warmups: integer({ atLeast: 0 }).default(8).describe('requests before the measurement'),
  request_rate: number({ above: 0 })
    .default(Infinity)
    .describe('requests a second, as a Poisson process; inf: as fast as the concurrency lets them'),
  max_concurrency: integer({ atLeast: 1 }).default(64).describe('requests at the same time'),
  input_len: length().default(256).describe('tokens of a prompt, or how they are distributed'),
  output_len: length().default(128).describe('tokens of an answer, the same way'),
  dataset_path: text()
    .default('')
    .describe('JSON Lines with `prompt`, or ShareGPT, in place of synthetic prompts'),
  timeout: seconds().default(600).describe('seconds of one request'),
  stall_timeout: seconds()
    .default(120)
    .describe('seconds in which a service that owes answers sends nothing at all: it hangs'),
  ignore_eos: boolean().default(true).describe('answers have their full length'),
  turns: integer({ atLeast: 1, atMost: 100 })
    .default(1)
    .describe('requests of one conversation, each with all that was said before; of `chat` only'),
  goodput: text()
    .default('')
    .describe(
      'limits of one request, ms, such as `"ttft:200 tpot:50 e2el:3000"`: how many keep them is the goodput',
    ),
  reset_cache: boolean()
    .default(true)
    .describe('empties prefix caches before the measurement, where the engine can'),
  ...scoredKeys,
  run_on: runOn()
    .default('controller')
    .describe(`${runOnSays}; elsewhere than here it needs Node 20.19 there`),
  threads: integer({ atLeast: 0, atMost: 64 })
    .default(0)
    .describe('of the generator; 0: as many as the concurrency needs and the machine has'),
});
export type BuiltinConfig = z.infer<typeof builtinConfig>;

/** undefined for a dataset: its lengths are known when it is read. */
export function builtinWorkload({
  input_len,
  output_len,
  dataset_path,
}: BuiltinConfig): Workload | undefined {
  const mean = (length: BuiltinConfig['input_len']): number =>
    typeof length === 'number' ? length : length.mean;
  const most =
    typeof output_len === 'number'
      ? output_len
      : Math.min(output_len.max, output_len.mean + 3 * output_len.std);
  return dataset_path === '' ? { inputTokens: mean(input_len), outputTokens: most } : undefined;
}
