import { z } from 'zod';
import { fieldsSchema } from '../../config/schema.ts';
import { boolean, oneOf, text } from '../../config/schema-types.ts';

/** The `[mindie]` table: the original's keys, and what its versions need to be told. */
export const mindieConfig = z.strictObject({
  output: text().optional(),
  process_name: text().optional(),
  work_path: text().optional(),
  config_path: text().optional(),
  config_bak_path: text().optional(),
  /** How the daemon gets its configuration: found out on the node unless it is said. */
  config_via: oneOf('auto', 'env', 'edit').default('auto'),
  /** Serve by HTTPS as the configuration says; else it is switched off, because nobody gave us a certificate. */
  https: boolean().default(false),
  fields: oneOf('standard', 'default').default('default'),
  command: z.record(z.string(), z.unknown(), { error: 'a table' }).optional(),
  target_field: fieldsSchema().default([]),
});
export type MindieConfig = z.infer<typeof mindieConfig>;
