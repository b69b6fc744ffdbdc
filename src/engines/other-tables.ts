import { z } from 'zod';
import { fieldsSchema } from '../config/schema-tables.ts';
import { table, text } from '../config/schema-types.ts';

/**
 * Tables of engines and benchmarks that configuration files of the original contain. They are checked, so that a
 * typing error is found, although nothing runs them yet.
 */
const paths = { output: text().optional(), process_name: text().optional(), work_path: text().optional() };

export const otherTables = {
  kubectl: table({
    ...paths,
    kubectl_default_path: text().optional(),
    command: z.record(z.string(), z.unknown(), { error: 'a table' }).optional(),
    kubectl_single_path: text().optional(),
    config_single_path: text().optional(),
    config_single_bak_path: text().optional(),
    config_single_pd_path: text().optional(),
    config_single_pd_bak_path: text().optional(),
    delete_path: text().optional(),
    target_field: fieldsSchema().optional(),
  }).optional(),
};
