import { z } from 'zod';
import type { StatedSlo } from '../core/fitness/slo.ts';
import { parseSlo, sloExamples } from './slo-text.ts';
import { presetNames } from '../core/serving/presets.ts';
import { dtypes, enumValues, type Field, type ParamValue } from '../core/space/field.ts';
import {
  boolean,
  environment,
  integer,
  list,
  number,
  oneOf,
  seconds,
  text,
  duration,
} from './schema-types.ts';

const paramValue: z.ZodType<ParamValue> = z.union([z.number(), z.boolean(), z.string()], {
  error: 'a number, true, false or a text',
});

/** Numbers and truth values may be written as texts; a text that is meant as one stays. */
function withTypedValue(field: Field): Field {
  const { value, dtype } = field;
  const listed = dtype === 'enum' ? enumValues(field) : [];
  const same = listed.find((one) => typeof one === 'string' && one === String(value));
  if (same !== undefined) return { ...field, value: same };
  if (typeof value !== 'string' || dtype === 'str') return field;
  if (value === 'true' || value === 'false') return { ...field, value: value === 'true' };
  return value.trim() !== '' && Number.isFinite(Number(value)) ? { ...field, value: Number(value) } : field;
}

const fieldShape = z.strictObject({
  name: text().default('max_batch_size'),
  config_position: text().default('BackendConfig.ScheduleConfig.maxBatchSize'),
  min: number().default(0),
  max: number().default(100),
  dtype: z
    .enum(dtypes, { error: `one of ${dtypes.map((dtype) => `"${dtype}"`).join(', ')}` })
    .default('float'),
  value: paramValue.default(0),
  dtype_param: z.unknown().default(null),
  constant: z.union([number(), z.null()]).default(null),
  scale: oneOf('linear', 'log', 'sqrt').optional(),
});

/** One `target_field`, with the original's defaults. */
export const fieldSchema: z.ZodType<Field> = fieldShape.transform(withTypedValue);

export const fieldsSchema = (): z.ZodType<Field[]> => list(fieldSchema, 'tables, one a field');

/** Keys of a node; `npu_ids` are device ids of any kind. */
const nodeKeys = {
  ssh_port: integer({ atLeast: 1, atMost: 65535 }).optional(),
  npu_ids: list(integer({ atLeast: 0 }), 'device ids').optional(),
  work_dir: text().optional(),
  username: text().optional(),
  identity_file: text().optional(),
  known_hosts_file: text().optional(),
  device_type: oneOf('npu', 'ascend', 'gpu', 'cuda', 'none').optional(),
  interface: text().optional(),
};

/** Keys of a service group; those in seconds accept fractions. */
const groupKeys = {
  master_node_index: integer({ atLeast: 0 }).optional(),
  start_script: text().optional(),
  worker_script: text().optional(),
  stop_script: text().optional(),
  config_path: text().optional(),
  health_check_url: text().optional(),
  health_check_timeout: seconds().optional(),
  start_silence_timeout: seconds().optional(),
  stop_grace: number({ atLeast: 0 }).optional(),
  env: environment().optional(),
};

const groupSchema = z.strictObject({
  ...groupKeys,
  ...nodeKeys,
  group_id: integer(),
  nodes: z
    .array(z.strictObject({ ...nodeKeys, host: text(), env: environment().optional() }), {
      error: 'a list of nodes',
    })
    .min(1, { error: 'at least one node' }),
});

export const parallelSchema = z.strictObject({
  enabled: boolean().default(false),
  evaluation_timeout: seconds().default(600),
  retry_count: integer({ atLeast: 0 }).default(2),
  retry_delay: number({ atLeast: 0 }).default(10),
  recovery_timeout: seconds().default(300),
  health_interval: seconds().default(30),
  lease_timeout: seconds().default(120),
  defaults: z.strictObject({ ...groupKeys, ...nodeKeys }).default({}),
  service_groups: z.array(groupSchema, { error: 'a list of tables' }).default([]),
});
export type ParallelTable = z.infer<typeof parallelSchema>;
export type GroupDefaults = ParallelTable['defaults'];

/** Where services run on their nodes. */
export const runtimeSchema = z
  .strictObject({
    kind: oneOf('host', 'docker', 'podman', 'exec').default('host'),
    /** docker, podman: what is run. */
    image: text().optional(),
    /** exec: the container that the user keeps up, and whose tool reaches it. */
    container: text().optional(),
    tool: oneOf('docker', 'podman').default('docker'),
    /** Further words of `run` or `exec`, before the image. */
    args: list(text(), 'words').default([]),
    sudo: boolean().default(false),
  })
  .refine(({ kind, image }) => !['docker', 'podman'].includes(kind) || (image ?? '') !== '', {
    error: 'an image for docker or podman',
    path: ['image'],
  })
  .refine(({ kind, container }) => kind !== 'exec' || (container ?? '') !== '', {
    error: 'the container to run in',
    path: ['container'],
  });
export type RuntimeTable = z.infer<typeof runtimeSchema>;

/** Sub-strings of log lines, by what they mean: the later original's table. */
const patternLists = z.record(z.string(), list(text(), 'sub-strings of log lines'), {
  error: 'a table of lists',
});
const patternTable = z.strictObject({
  fatal_patterns: patternLists.default({}),
  retryable_patterns: patternLists.default({}),
});
export const healthCheckSchema = z.strictObject({
  /** Accepted: logs are followed line by line. */
  log_snippet_length: integer({ above: 0 }).optional(),
  service_errors: patternTable.prefault({}),
  benchmark_errors: patternTable.prefault({}),
});
export type HealthCheckTable = z.infer<typeof healthCheckSchema>;

/** An SLO as people state it. */
const sloSchema = text().transform((value, context): StatedSlo => {
  try {
    return parseSlo(value);
  } catch (error) {
    context.addIssue({
      code: 'custom',
      message: `${(error as Error).message}: write it like ${sloExamples}`,
    });
    return z.NEVER;
  }
});

const strategies = ['exp_decay', 'nonlin_mod', 'lin_variation', 'random'] as const;
const ioTable = z.record(z.string(), z.unknown(), { error: 'a table' }).optional();

/** Every top-level key that is not a table of an engine or a benchmark. */
export const topLevelShape = {
  engine: text().optional(),
  benchmark: text().optional(),
  output: text().default('result'),
  simulator_output: text().optional(),
  n_particles: integer({ above: 0, below: 1000 }).default(10),
  iters: integer({ above: 0, below: 1000 }).default(5),
  particles_time_out: seconds().default(3600),
  ftol: number().default(-Infinity),
  ftol_iter: integer({ atLeast: 1 }).default(1),
  confirm_runs: integer({ atLeast: 0 }).default(3),
  reuse_service: boolean().default(true),
  abort_hopeless: boolean().default(true),
  max_evaluations: integer({ above: 0 }).optional(),
  budget: duration().optional(),
  patience: z
    .union([boolean(), integer({ atLeast: 0 })], { error: 'true, false or a number of evaluations' })
    .default(false),
  expected_start: seconds().optional(),
  expected_benchmark: seconds().optional(),
  load_search: oneOf('slo', 'two_stage', 'fixed').optional(),
  load_probes: integer({ above: 0, atMost: 50 }).default(5),
  two_stage: boolean().default(false),
  multiplier: number({ above: 0 }).default(1.05),
  synchronous: boolean().default(false),
  surrogate: boolean().default(true),
  algorithm: oneOf('pso', 'random').default('pso'),
  seed: integer().optional(),
  pso_options: z
    .strictObject({ c1: number().optional(), c2: number().optional(), w: number().optional() })
    .optional(),
  pso_strategy: z
    .strictObject({
      w: oneOf(...strategies).optional(),
      c1: oneOf(...strategies).optional(),
      c2: oneOf(...strategies).optional(),
    })
    .optional(),
  ttft_penalty: number({ atLeast: 0 }).default(1),
  tpot_penalty: number({ atLeast: 0 }).default(0),
  success_rate_penalty: number({ atLeast: 0 }).default(5),
  ttft_slo: number({ above: 0 }).default(1),
  tpot_slo: number({ above: 0 }).default(0.05),
  success_rate_slo: number({ above: 0 }).default(1),
  slo: list(sloSchema, `texts like ${sloExamples}`).default([]),
  objective: oneOf('throughput', 'goodput', 'fitness').default('throughput'),
  slo_coefficient: number({ atLeast: 0 }).default(0.1),
  generate_speed_target: number({ above: 0 }).default(5000),
  sample_size: integer({ above: 0 }).default(1000),
  mem_coefficient: number({ above: 0 }).default(0.8),
  max_fine_tune: integer({ atLeast: 0 }).default(10),
  scaling_coefficient: number({ above: 0 }).default(1.3),
  step_size: number({ above: 0 }).default(0.6),
  theory_guided_enable: boolean().default(true),
  service: text().default('master'),
  data_storage: z
    .strictObject({ store_dir: text().optional(), pso_top_k: integer({ atLeast: 0 }).default(3) })
    .default({ pso_top_k: 3 }),
  presets: boolean().default(true),
  health_check: healthCheckSchema.prefault({}),
  wait_start_time: seconds().optional(),
  constraint: list(z.strictObject({ expr: text(), reason: text().optional() }), 'tables with expr').default(
    [],
  ),
  runtime: runtimeSchema.prefault({}),
  parallel: parallelSchema.default(() => parallelSchema.parse({})),
  simulate: z
    .strictObject({
      preset: z.enum(presetNames, { error: `one of ${presetNames.join(', ')}` }).optional(),
      noise: number({ atLeast: 0, atMost: 1 }).default(0),
      node_failures: number({ atLeast: 0, below: 1 }).default(0),
      outage: seconds().default(120),
      group_speeds: list(number({ above: 0 }), 'speeds, one a group; 1 is usual').default([1]),
    })
    .prefault({}),
  communication: ioTable,
  latency_model: ioTable,
  train: ioTable,
} as const;

export const topLevelSchema = z.strictObject(topLevelShape);
export type TopLevel = z.infer<typeof topLevelSchema>;

/** Accepted from configuration files of the original; nothing here reads them. */
export const ignoredKeys = [
  'train',
  'latency_model',
  'communication',
  'simulator_output',
  'service',
] as const;
