import type { GroupShape } from '../../config/parallel-config.ts';
import type { ConstraintRule } from '../../core/space/constraints.ts';
import type { Field } from '../../core/space/field.ts';
import type { Preset } from '../../parallel/ports.ts';
import { leftOpen, type FlagRules } from '../arguments.ts';
import { field, loadFields } from '../fields.ts';
import { checkedLayouts, fieldOfLayouts, layoutField, layoutText, legalLayouts } from '../layout.ts';
import type { Distributed, VllmConfig } from './config.ts';

const switches = [
  '--async-scheduling',
  '--enable-chunked-prefill',
  '--enable-dbo',
  '--enable-prefix-caching',
  '--enforce-eager',
];

/** Flags that a field of the same name sets, and those of them that have a `--no-` form. */
export const vllmFlags: FlagRules = {
  flags: new Set([
    ...switches,
    '--all2all-backend',
    '--api-server-count',
    '--block-size',
    '--compilation-config',
    '--gpu-memory-utilization',
    '--kv-cache-dtype',
    '--long-prefill-token-threshold',
    '--max-model-len',
    '--max-num-partial-prefills',
    '--quantization',
    '--speculative-config',
    '--swap-space',
  ]),
  negatable: new Set(switches),
  aliases: { '--quantization': ['-q'], '--compilation-config': ['-O', '-cc'] },
};

const rank = 'Leave it out: it follows from the nodes of the group and `distributed`.';

/** What is not for `others` to say. */
export const vllmReserved: Readonly<Record<string, string>> = {
  '--port': 'Give it as port = "…" in [vllm.command].',
  '--host': 'Leave it out, or give host = "0.0.0.0" in [vllm.command].',
  '--served-model-name': 'Give it as served_model_name = "…" in [vllm.command].',
  '--nnodes': rank,
  '--node-rank': rank,
  '--master-addr': rank,
  '--master-port': rank,
  '--headless': rank,
};

/** Several nodes serve by multiprocessing unless the user says otherwise. */
export function distributedOf(
  { distributed }: VllmConfig,
  { nodes }: Pick<GroupShape, 'nodes'>,
): Distributed {
  return distributed ?? (nodes > 1 ? 'mp' : 'none');
}

function layoutsOf(config: VllmConfig, shape: GroupShape): string[] {
  const distributed = distributedOf(config, shape);
  const across = distributed === 'dp' ? 'data' : distributed === 'none' ? 'none' : 'pipeline';
  if (config.layouts !== undefined) return checkedLayouts(config.layouts, { ...shape, across }, 'vllm');
  return legalLayouts({ ...shape, across, experts: config.experts }).map(layoutText);
}

const kvCacheDtype = 'KV_CACHE_DTYPE';

/** Numbers and sources: docs/engines/vllm.md. */
export function vllmFields(config: VllmConfig, shape: GroupShape): readonly Field[] {
  const layouts = layoutsOf(config, shape);
  if (config.target_field.length > 0 && config.fields === undefined) return config.target_field;
  const npu = shape.deviceType === 'npu';
  const ray = distributedOf(config, shape) === 'ray';
  const standard = [
    npu
      ? field.log('MAX_NUM_BATCHED_TOKENS', 2048, 32_768, 8192)
      : field.log('MAX_NUM_BATCHED_TOKENS', 1024, 65_536, 8192),
    field.log('MAX_NUM_SEQS', 16, 1024, 256),
    ...(layouts.length > 1 ? [fieldOfLayouts(layouts, layouts[0] as string)] : []),
    field.float('GPU_MEMORY_UTILIZATION', 0.85, 0.95, 0.9),
    ...(ray ? [] : [field.bool('ASYNC_SCHEDULING', false)]),
    ...loadFields,
  ];
  const wide = [
    field.oneOf(kvCacheDtype, ['auto', 'fp8'], 'auto'),
    field.oneOf('BLOCK_SIZE', npu ? [128] : [16, 32, 64], npu ? 128 : 16),
    field.bool('ENABLE_PREFIX_CACHING', true),
    field.oneOf('LONG_PREFILL_TOKEN_THRESHOLD', [0, 1024, 2048, 4096], 0),
    ...(npu
      ? [field.oneOf('HCCL_OP_EXPANSION_MODE', ['AIV', ''], ''), field.oneOf('TASK_QUEUE_ENABLE', [1, 2], 1)]
      : [field.oneOf('API_SERVER_COUNT', [1, 2, 4], 1)]),
  ].filter((one) => !(one.dtype === 'enum' && (one.dtype_param as unknown[]).length < 2));
  const own = config.target_field;
  const known = config.fields === 'wide' ? [...standard, ...wide] : standard;
  const open = leftOpen(known, config.command.others, vllmFlags);
  return [...own, ...open.filter(({ name }) => !own.some((one) => one.name === name))];
}

export const vllmNumerics = [kvCacheDtype, 'QUANTIZATION', 'SPECULATIVE_CONFIG'];

export const vllmConstraints: readonly ConstraintRule[] = [
  {
    expr: 'max_num_batched_tokens >= max_num_seqs',
    reason: 'max_num_batched_tokens must not be below max_num_seqs',
  },
  {
    expr: 'enable_chunked_prefill || max_num_batched_tokens >= max_model_len',
    reason: 'without chunked prefill max_num_batched_tokens must hold a whole prompt of max_model_len',
  },
];

/** What vendors and operators start from; the middle of the road is what vLLM does by itself. */
export function vllmPresets(config: VllmConfig, shape: GroupShape): readonly Preset[] {
  const names = new Set(vllmFields(config, shape).map(({ name }) => name));
  const layouts = layoutsOf(config, shape);
  const most = layouts.at(-1);
  const all: Preset[] = [
    {
      name: 'throughput',
      params: {
        MAX_NUM_SEQS: 512,
        MAX_NUM_BATCHED_TOKENS: 16_384,
        GPU_MEMORY_UTILIZATION: 0.94,
        ASYNC_SCHEDULING: true,
      },
    },
    { name: 'latency', params: { MAX_NUM_SEQS: 64, MAX_NUM_BATCHED_TOKENS: 2048 } },
    { name: 'balanced', params: { MAX_NUM_SEQS: 256, MAX_NUM_BATCHED_TOKENS: 8192, ASYNC_SCHEDULING: true } },
    ...(most === undefined ? [] : [{ name: 'replicas', params: { [layoutField]: most, MAX_NUM_SEQS: 128 } }]),
  ];
  return all
    .map(({ name, params }) => ({
      name,
      params: Object.fromEntries(Object.entries(params).filter(([key]) => names.has(key))),
    }))
    .filter(({ params }) => Object.keys(params).length > 0);
}
