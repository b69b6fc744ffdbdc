import type { z } from 'zod';
import { fieldsSchema } from '../../config/schema-tables.ts';
import { boolean, list, oneOf, table, text } from '../../config/schema-types.ts';

/** The `[vllm]` table: the original's keys, and how several nodes serve together. */
export const vllmConfig = table({
  output: text().optional().describe('accepted from files of the original, without effect'),
  process_name: text().optional().describe('accepted from files of the original, without effect'),
  work_path: text().optional().describe('accepted from files of the original, without effect'),
  executable: list(text(), 'the words of a command').default(['vllm']).describe('words of the command'),
  distributed: oneOf('none', 'mp', 'ray', 'dp')
    .optional()
    .describe(
      'how several nodes serve together; without it `mp` for several nodes, where vLLM can, and `none` for one',
    ),
  experts: boolean()
    .default(false)
    .describe('a mixture of experts: layouts with expert parallelism are tried'),
  fields: oneOf('standard', 'wide')
    .optional()
    .describe('which of its own fields are searched; without it, those of `target_field`'),
  layouts: list(text(), 'layouts, such as "tp8"')
    .optional()
    .describe('the layouts to try, such as `["tp8", "tp4pp2"]`, where not all are wanted'),
  command: table({
    host: text().optional().describe('address that it serves on'),
    port: text().optional().describe('port that it serves on'),
    model: text().default('').describe('path of the weights, or name on a hub'),
    served_model_name: text().default('').describe('name that requests use'),
    others: text().default('').describe('further words of the command line, as in a shell'),
  }).prefault({}),
  target_field: fieldsSchema().default([]).describe('[fields](../configuration.md#fields) of your own'),
});
export type VllmConfig = z.infer<typeof vllmConfig>;

export type Distributed = 'none' | 'mp' | 'ray' | 'dp';
