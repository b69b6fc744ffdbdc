import { z } from 'zod';
import { dtypes, enumValues, type Field, type ParamValue } from '../core/space/field.ts';
import { boolean, environment, integer, list, number, oneOf, seconds, table, text } from './schema-types.ts';

/** The tables of a configuration; what is said of each key here is its line in docs/configuration.md. */

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

const fieldShape = table({
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
  ssh_port: integer({ atLeast: 1, atMost: 65535 })
    .optional()
    .meta({ description: 'port of its SSH server', usual: '`~/.ssh/config`, else 22' }),
  npu_ids: list(integer({ atLeast: 0 }), 'device ids')
    .optional()
    .meta({ description: 'device ids of any kind of accelerator', usual: '0 … 7' }),
  work_dir: text().optional().meta({
    description: 'where scripts run; our files are in `work_dir/runs`',
    usual: '`/tmp/modelevalstate`',
  }),
  username: text().optional().meta({ description: 'who logs in', usual: '`~/.ssh/config`, else you' }),
  identity_file: text()
    .optional()
    .meta({ description: 'private key', usual: '`~/.ssh/config`, else the agent and `~/.ssh`' }),
  known_hosts_file: text().optional().meta({ description: 'host keys', usual: '`~/.ssh/known_hosts`' }),
  ssh_config: text().optional().meta({ description: 'ssh_config that is read', usual: '`~/.ssh/config`' }),
  device_type: oneOf('npu', 'ascend', 'gpu', 'cuda', 'none')
    .optional()
    .meta({ description: 'which variables show the devices to the service', usual: 'found out' }),
  interface: text()
    .optional()
    .describe('network interface between the nodes of a group (may differ by node)'),
};

/** Keys of a service group; those in seconds accept fractions. */
const groupKeys = {
  master_node_index: integer({ atLeast: 0 })
    .optional()
    .meta({ description: 'which of the nodes is the master', usual: '0' }),
  start_script: text().optional().meta({
    description: 'run on the master as `start_script --config CONFIG_PATH`',
    usual: '`./start_service.sh`',
  }),
  worker_script: text().optional().describe('the same way on every other node, before the master'),
  stop_script: text().optional().describe('asked first when the service is stopped'),
  config_path: text().optional().meta({
    description: '`{group_id}` and `{rank}` are filled in, or appended as needed',
    usual: '`config.json` in `work_dir`',
  }),
  health_check_url: text()
    .optional()
    .meta({ description: 'healthy when it answers 200', usual: '`http://{host}:8000/health`' }),
  health_check_timeout: seconds().optional().meta({ description: 'seconds for a start', usual: '1800' }),
  start_silence_timeout: seconds()
    .optional()
    .meta({ description: 'seconds without a line in the log: it hangs', usual: '600' }),
  stop_grace: number({ atLeast: 0 })
    .optional()
    .meta({ description: 'seconds between TERM and KILL', usual: '10' }),
  env: environment().optional().describe('table of environment variables'),
};

export const groupSchema = table({
  ...groupKeys,
  ...nodeKeys,
  group_id: integer().describe('number of the group, in logs and tables'),
  nodes: z
    .array(
      table({
        ...nodeKeys,
        host: text().describe('address, or a name of `~/.ssh/config`'),
        env: environment().optional(),
      }),
      {
        error: 'a list of nodes',
      },
    )
    .min(1, { error: 'at least one node' }),
});

export const parallelSchema = table({
  enabled: boolean().default(false).describe('use `service_groups` without `--parallel`'),
  evaluation_timeout: seconds()
    .default(600)
    .describe('seconds of one benchmark; the start has its own limits'),
  retry_count: integer({ atLeast: 0 }).default(2).describe('further attempts when machines fail'),
  retry_delay: number({ atLeast: 0 }).default(10).describe('seconds, doubled every time'),
  recovery_timeout: seconds().default(300).describe('seconds to wait when every group is down'),
  health_interval: seconds().default(30).describe('seconds between two looks at idle groups'),
  lease_timeout: seconds()
    .default(120)
    .describe(
      'seconds without a word of the optimizer, by the clock of the node, after which a node ends our service itself',
    ),
  groups: oneOf('normalize', 'strict', 'exclude', 'trust')
    .default('normalize')
    .describe(
      'what becomes of groups that serve the present configuration at another speed: their numbers are scaled, they are used where no other one can be, or not at all; `trust`: it is not measured',
    ),
  groups_per_node: integer({ atLeast: 1 })
    .default(1)
    .describe('services on the same hosts, which share their devices, ports and work directories'),
  max_groups: integer({ atLeast: 1 })
    .default(10_000)
    .meta({ description: 'so many groups at most, also when hosts are added', usual: 'all' }),
  min_groups: integer({ atLeast: 0 }).default(0).describe('groups that must stay when hosts are taken out'),
  group_tolerance: number({ above: 0 })
    .default(0.1)
    .describe('share by which speeds of equal groups may differ'),
  launcher: oneOf('ssh', 'slurm')
    .default('ssh')
    .describe('how commands get to nodes: over SSH, or as steps of a job of Slurm'),
  slurm: text().optional().describe('options of sbatch: an allocation is made for the run'),
  forward_ports: oneOf('auto', 'always', 'never')
    .default('auto')
    .describe('forward the port of a service over SSH: where this machine does not reach it, or always'),
  defaults: table({ ...groupKeys, ...nodeKeys }).default({}),
  service_groups: z.array(groupSchema, { error: 'a list of tables' }).default([]),
});
export type ParallelTable = z.infer<typeof parallelSchema>;
export type GroupDefaults = ParallelTable['defaults'];

/** Where services run on their nodes. */
export const runtimeSchema = table({
  kind: oneOf('host', 'docker', 'podman', 'exec')
    .default('host')
    .describe('on the host, in containers that are started, or (`exec`) in one that is there'),
  /** docker, podman: what is run. */
  image: text().optional().describe('of docker and podman: what is run'),
  /** exec: the container that the user keeps up, and whose tool reaches it. */
  container: text().optional().describe('of `exec`: the container that you keep up'),
  tool: oneOf('docker', 'podman').default('docker').describe('of `exec`: what reaches it'),
  /** Further words of `run` or `exec`, before the image. */
  args: list(text(), 'words').default([]).describe('further words of `run` or `exec`, before the image'),
  sudo: boolean().default(false).describe('reach the container tool through `sudo -n`'),
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
const patternTable = table({
  fatal_patterns: patternLists.default({}),
  retryable_patterns: patternLists.default({}),
});
export const healthCheckSchema = table({
  /** Accepted: logs are followed line by line. */
  log_snippet_length: integer({ above: 0 }).optional(),
  service_errors: patternTable.prefault({}),
  benchmark_errors: patternTable.prefault({}),
});
export type HealthCheckTable = z.infer<typeof healthCheckSchema>;
