import type { z } from 'zod';

import { ignoredText, oneOf, table, text } from '../../config/schema-types.ts';
import { commandKeys, executableKey, fieldKeys, layoutKeys } from '../common-keys.ts';

/** The `[vllm]` table: the original's keys, and how several nodes serve together. */
export const vllmConfig = table({
  output: ignoredText(),
  process_name: ignoredText(),
  work_path: ignoredText(),
  ...executableKey('vllm'),
  distributed: oneOf('none', 'mp', 'ray', 'dp')
    .optional()
    .describe(
      'how several nodes serve together; without it `mp` for several nodes, where vLLM can, and `none` for one',
    ),
  ...layoutKeys,
  ...fieldKeys,
  command: table({
    host: text().optional().describe('address that it serves on'),
    ...commandKeys,
  }).prefault({}),
});
export type VllmConfig = z.infer<typeof vllmConfig>;

export type Distributed = 'none' | 'mp' | 'ray' | 'dp';
