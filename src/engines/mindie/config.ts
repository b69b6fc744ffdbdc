import { z } from 'zod';
import { fieldsSchema } from '../../config/schema-tables.ts';
import { boolean, ignoredText, oneOf, table, text, withoutEffect } from '../../config/schema-types.ts';

/** The `[mindie]` table: the original's keys, and what its versions need to be told. */
export const mindieConfig = table({
  output: ignoredText(),
  process_name: ignoredText(),
  work_path: ignoredText(),
  config_path: text().optional().describe('of the file of the daemon that is tuned'),
  config_bak_path: ignoredText(),
  config_via: oneOf('auto', 'env', 'edit')
    .default('auto')
    .describe('how the daemon gets its configuration: found out on the node unless it is said'),
  https: boolean()
    .default(false)
    .describe(
      'serve by HTTPS as its configuration says; else it is switched off, because nobody gave us a certificate',
    ),
  fields: oneOf('standard', 'default')
    .default('default')
    .describe('which of its own fields are searched; without it, those of `target_field`'),
  command: z.record(z.string(), z.unknown(), { error: 'a table' }).optional().describe(withoutEffect),
  target_field: fieldsSchema().default([]).describe('[fields](../configuration.md#fields) of your own'),
});
export type MindieConfig = z.infer<typeof mindieConfig>;
