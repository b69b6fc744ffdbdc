import { z } from 'zod';
import { fieldsSchema } from '../config/schema.ts';
import { integer, text } from '../config/schema-types.ts';

/**
 * Tables of engines and benchmarks that configuration files of the original contain. They are checked, so that a
 * typing error is found, although nothing runs them yet.
 */
const paths = { output: text().optional(), process_name: text().optional(), work_path: text().optional() };

const metric = z.strictObject({ metric: text().optional(), algorithm: text().optional() }).optional();

export const otherTables = {
  kubectl: z
    .strictObject({
      ...paths,
      kubectl_default_path: text().optional(),
      command: z.strictObject({}).optional(),
    })
    .optional(),
  ais_bench: z
    .strictObject({
      process_name: text().optional(),
      output_path: text().optional(),
      work_path: text().optional(),
      command: z
        .strictObject({
          models: text().optional(),
          datasets: text().optional(),
          mode: text().optional(),
          num_prompts: integer({ above: 0, atMost: 1_000_000 }).optional(),
          work_dir: text().optional(),
        })
        .optional(),
      performance_config: z
        .strictObject({ time_to_first_token: metric, time_per_output_token: metric })
        .optional(),
      best_concurrency_coefficient: integer().optional(),
      best_concurrency_threshold: integer().optional(),
      model: text().optional(),
      path: text().optional(),
      host_ip: text().optional(),
      host_port: integer().optional(),
      max_out_len: integer().optional(),
      target_field: fieldsSchema().optional(),
    })
    .optional(),
  vllm_benchmark: z
    .strictObject({
      process_name: text().optional(),
      output_path: text().optional(),
      work_path: text().optional(),
      command: z
        .strictObject({
          serving: text().optional(),
          backend: text().optional(),
          host: text().optional(),
          port: text().optional(),
          model: text().optional(),
          served_model_name: text().optional(),
          dataset_name: text().optional(),
          dataset_path: text().optional(),
          num_prompts: integer({ above: 0 }).optional(),
          result_dir: text().optional(),
          others: text().optional(),
        })
        .optional(),
      target_field: fieldsSchema().optional(),
    })
    .optional(),
};
