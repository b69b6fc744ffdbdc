import type { z } from 'zod';
import { boolean, list, oneOf, text } from '../config/schema-types.ts';
import { fieldsSchema } from '../config/schema-tables.ts';

/** Keys that the tables of several engines have. */

export const fieldKeys = {
  fields: oneOf('standard', 'wide')
    .optional()
    .describe('which of its own fields are searched; without it, those of `target_field`'),
  target_field: fieldsSchema().default([]).describe('[fields](../configuration.md#fields) of your own'),
};

export const layoutKeys = {
  experts: boolean()
    .default(false)
    .describe('a mixture of experts: layouts with expert parallelism are tried'),
  layouts: list(text(), 'layouts, such as "tp8"')
    .optional()
    .describe('the layouts to try, such as `["tp8", "tp4pp2"]`, where not all are wanted'),
};

/** Of `[ENGINE.command]`. */
export const commandKeys = {
  port: text().optional().describe('port that it serves on'),
  model: text().default('').describe('path of the weights, or name on a hub'),
  served_model_name: text().default('').describe('name that requests use'),
  others: text().default('').describe('further words of the command line, as in a shell'),
};

/** The words of the engine's command. */
export const executableKey = (
  ...usual: readonly [string, ...string[]]
): { readonly executable: z.ZodType<string[]> } => ({
  executable: list(text(), 'the words of a command')
    .default([...usual])
    .describe('words of the command'),
});
