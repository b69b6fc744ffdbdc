import { z } from 'zod';
import type { Workload } from '../../config/validate.ts';
import { statistic } from '../statistics.ts';
import { boolean, integer, number, oneOf, seconds, text } from '../../config/schema-types.ts';

const length = (): z.ZodType<number | { mean: number; std: number; min: number; max: number }> =>
  z.union(
    [
      integer({ atLeast: 1 }),
      z.strictObject({
        mean: number({ above: 0 }),
        std: number({ atLeast: 0 }).default(0),
        min: integer({ atLeast: 1 }).default(1),
        max: integer({ atLeast: 1 }).default(1_000_000),
      }),
    ],
    { error: 'a whole number of tokens, or { mean, std, min, max }' },
  );

export const builtinConfig = z.strictObject({
  endpoint: oneOf('completions', 'chat').default('completions'),
  num_prompts: integer({ atLeast: 1 }).default(200),
  num_warmups: integer({ atLeast: 0 }).default(8),
  request_rate: number({ above: 0 }).default(Infinity),
  max_concurrency: integer({ atLeast: 1 }).default(64),
  input_len: length().default(256),
  output_len: length().default(128),
  dataset_path: text().default(''),
  timeout: seconds().default(600),
  /** A service that owes answers and sends nothing at all for so long hangs. */
  stall_timeout: seconds().default(120),
  ignore_eos: boolean().default(true),
  /** Requests of one conversation, each with all that was said before; the chat endpoint only makes sense of them. */
  turns: integer({ atLeast: 1, atMost: 100 }).default(1),
  /** Limits of one request, ms, such as "ttft:200 tpot:50 e2el:3000": how many keep them is the goodput. */
  goodput: text().default(''),
  /** Empties prefix caches before the measurement, where the engine can. */
  reset_cache: boolean().default(true),
  time_to_first_token: statistic(),
  time_per_output_token: statistic(),
  /** 0: as many as the concurrency needs and the machine has. */
  threads: integer({ atLeast: 0, atMost: 64 }).default(0),
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
