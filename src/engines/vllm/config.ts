import { z } from 'zod';
import { fieldsSchema } from '../../config/schema.ts';
import { boolean, list, oneOf, text } from '../../config/schema-types.ts';

/** The `[vllm]` table: the original's keys, and how several nodes serve together. */
export const vllmConfig = z.strictObject({
  /** Accepted from the original's files: logs and processes are found without them. */
  output: text().optional(),
  process_name: text().optional(),
  work_path: text().optional(),
  executable: list(text(), 'the words of a command').default(['vllm']),
  distributed: oneOf('none', 'mp', 'ray', 'dp').optional(),
  /** A mixture of experts: layouts with expert parallelism are tried. */
  experts: boolean().default(false),
  fields: oneOf('standard', 'wide').optional(),
  /** The layouts to try, such as ["tp8", "tp4dp2"], where not all are wanted. */
  layouts: list(text(), 'layouts, such as "tp8"').optional(),
  command: z
    .strictObject({
      host: text().optional(),
      port: text().optional(),
      model: text().default(''),
      served_model_name: text().default(''),
      others: text().default(''),
    })
    .prefault({}),
  target_field: fieldsSchema().default([]),
});
export type VllmConfig = z.infer<typeof vllmConfig>;

export type Distributed = 'none' | 'mp' | 'ray' | 'dp';
