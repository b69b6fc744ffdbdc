import type { z } from 'zod';
import type { GroupShape } from '../../config/parallel-config.ts';
import { table } from '../../config/schema-types.ts';
import type { Field } from '../../core/space/field.ts';
import type { Preset } from '../../parallel/ports.ts';
import { commandKeys, executableKey, fieldKeys, layoutKeys } from '../common-keys.ts';
import { leftOpen, type FlagRules } from '../arguments.ts';
import { field, loadFields } from '../fields.ts';
import { checkedLayouts, fieldOfLayouts, layoutText, legalLayouts } from '../layout.ts';

export const sglangConfig = table({
  ...executableKey('python3', '-m', 'sglang.launch_server'),
  ...layoutKeys,
  ...fieldKeys,
  command: table(commandKeys).prefault({}),
});
export type SglangConfig = z.infer<typeof sglangConfig>;

export const sglangFlags: FlagRules = {
  flags: new Set([
    '--attention-backend',
    '--chunked-prefill-size',
    '--cuda-graph-max-bs',
    '--disable-cuda-graph',
    '--disable-radix-cache',
    '--enable-dp-attention',
    '--kv-cache-dtype',
    '--max-prefill-tokens',
    '--max-running-requests',
    '--mem-fraction-static',
    '--page-size',
    '--schedule-conservativeness',
    '--schedule-policy',
    '--speculative-algorithm',
    '--speculative-eagle-topk',
    '--speculative-num-draft-tokens',
    '--speculative-num-steps',
  ]),
};

function layoutsOf(config: SglangConfig, shape: GroupShape): string[] {
  const across = shape.nodes > 1 ? 'pipeline' : 'none';
  if (config.layouts !== undefined)
    return checkedLayouts(config.layouts, { ...shape, across: 'none' }, 'sglang');
  return legalLayouts({ ...shape, across, experts: config.experts }).map(layoutText);
}

export function sglangFields(config: SglangConfig, shape: GroupShape): readonly Field[] {
  const own = config.target_field;
  if (own.length > 0 && config.fields === undefined) return own;
  const layouts = layoutsOf(config, shape);
  const standard = [
    field.float('MEM_FRACTION_STATIC', 0.7, 0.92, 0.85),
    field.oneOf('CHUNKED_PREFILL_SIZE', [-1, 1024, 2048, 4096, 8192, 16_384], 8192),
    field.log('MAX_RUNNING_REQUESTS', 16, 2048, 256),
    field.float('SCHEDULE_CONSERVATIVENESS', 0.3, 1.5, 1),
    field.oneOf('CUDA_GRAPH_MAX_BS', [32, 64, 128, 256, 512], 128),
    ...(layouts.length > 1 ? [fieldOfLayouts(layouts, layouts[0] as string)] : []),
    ...loadFields,
  ];
  const wide = [
    field.oneOf('SCHEDULE_POLICY', ['fcfs', 'lpm'], 'fcfs'),
    field.oneOf('KV_CACHE_DTYPE', ['auto', 'fp8_e4m3'], 'auto'),
    field.oneOf('MAX_PREFILL_TOKENS', [8192, 16_384, 32_768], 16_384),
  ];
  const known = config.fields === 'wide' ? [...standard, ...wide] : standard;
  const open = leftOpen(known, config.command.others, sglangFlags);
  return [...own, ...open.filter(({ name }) => !own.some((one) => one.name === name))];
}

export function sglangPresets(config: SglangConfig, shape: GroupShape): readonly Preset[] {
  const names = new Set(sglangFields(config, shape).map(({ name }) => name));
  const all: Preset[] = [
    {
      name: 'throughput',
      params: {
        MEM_FRACTION_STATIC: 0.9,
        MAX_RUNNING_REQUESTS: 512,
        CHUNKED_PREFILL_SIZE: 8192,
        SCHEDULE_CONSERVATIVENESS: 0.3,
        CUDA_GRAPH_MAX_BS: 256,
      },
    },
    {
      name: 'latency',
      params: { MAX_RUNNING_REQUESTS: 64, CHUNKED_PREFILL_SIZE: 2048, CUDA_GRAPH_MAX_BS: 64 },
    },
    {
      name: 'balanced',
      params: { MEM_FRACTION_STATIC: 0.85, MAX_RUNNING_REQUESTS: 256, CHUNKED_PREFILL_SIZE: 4096 },
    },
  ];
  return all.map(({ name, params }) => ({
    name,
    params: Object.fromEntries(Object.entries(params).filter(([key]) => names.has(key))),
  }));
}
