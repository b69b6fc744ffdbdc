import type { EffectiveValue, Engine, Guidance, Refined } from '../../parallel/ports.ts';
import type { Field } from '../../core/space/field.ts';
import { commonPatterns, node, operator, params, wrapper } from '../log-patterns.ts';
import { batchBounds, guided, type ModelShape } from './bounds.ts';
import { mindieConfig, type MindieConfig } from './config.ts';
import { inspectionCommand, parseInspection, putBackCommand, type MindieNode } from './inspection.ts';
import { mindiePlan, placesOf } from './plan.ts';
import { mindieConstraints, mindieFields, valueAt, withPresentValues } from './space.ts';

const shapeKeys = [
  'hidden_size',
  'intermediate_size',
  'num_attention_heads',
  'num_hidden_layers',
  'num_key_value_heads',
  'vocab_size',
  'max_position_embeddings',
] as const;

function modelShape({ model }: MindieNode): ModelShape | undefined {
  if (model === undefined) return undefined;
  const numbers = shapeKeys.map((key) => [key, Number(model[key] ?? NaN)] as const);
  if (numbers.some(([, value]) => !(value > 0))) return undefined;
  const dtype = model['torch_dtype'];
  return {
    ...(Object.fromEntries(numbers) as Record<(typeof shapeKeys)[number], number>),
    torch_dtype: typeof dtype === 'string' ? dtype : undefined,
  };
}

/** The field of the batch size, between what the memory holds of long and of short requests. */
function withBounds(fields: readonly Field[], found: MindieNode, guidance: Guidance): Refined {
  const batch = fields.find(({ name }) => name === 'max_batch_size');
  const shape = modelShape(found);
  const document = found.config;
  const { theory, workload } = guidance;
  if (batch === undefined || document === undefined || theory === undefined || workload === undefined)
    return { fields, notes: [] };
  if (shape === undefined || found.memory === undefined) {
    return {
      fields,
      notes: ['max_batch_size keeps its bounds: the model or the device memory could not be read'],
    };
  }
  const at = (position: string, usual: number): number =>
    Number(valueAt(document, `BackendConfig.${position}`) ?? usual);
  const engine = {
    cacheBlockSize: at(
      'ModelDeployConfig.ModelConfig.0.cacheBlockSize',
      at('ScheduleConfig.cacheBlockSize', 128),
    ),
    maxPrefillTokens: at('ScheduleConfig.maxPrefillTokens', 8192),
    maxIterTimes: at('ScheduleConfig.maxIterTimes', 512),
    npuMemSize: at('ModelDeployConfig.ModelConfig.0.npuMemSize', -1),
    tp: at('ModelDeployConfig.ModelConfig.0.tp', at('ModelDeployConfig.ModelConfig.0.worldSize', 1)),
  };
  const device = { ...found.memory, memCoefficient: theory.memCoefficient };
  const bounds = batchBounds(shape, engine, device, {
    meanInput: workload.inputTokens,
    maxOutput: workload.outputTokens,
  });
  const narrowed = guided(batch, bounds, theory.scalingCoefficient);
  if (narrowed.min === batch.min && narrowed.max === batch.max) return { fields, notes: [] };
  return {
    fields: fields.map((one) => (one === batch ? narrowed : one)),
    notes: [
      `max_batch_size: searched from ${narrowed.min} to ${narrowed.max}, by what the device memory holds`,
    ],
  };
}

/** In the words of its `/info`, which are those of another server. */
function parseInfo(body: string): Record<string, EffectiveValue> {
  const info = JSON.parse(body) as { max_concurrent_requests?: number; max_batch_total_tokens?: number };
  const { max_concurrent_requests: batch, max_batch_total_tokens: tokens } = info;
  return {
    ...(batch === undefined ? {} : { max_batch_size: { value: batch } }),
    ...(tokens === undefined ? {} : { max_prefill_token: { value: tokens } }),
  };
}

/** MindIE by its daemon, on top of the configuration that is there. */
export const mindieEngine: Engine<MindieConfig> = {
  name: 'mindie',
  config: mindieConfig,
  fieldsOf: mindieFields,
  constraints: () => mindieConstraints,
  presets: () => [
    {
      name: 'throughput',
      params: { max_batch_size: 256, max_prefill_token: 16_384, support_select_batch: false },
    },
    {
      name: 'latency',
      params: { max_batch_size: 48, max_prefill_token: 8192, max_queue_delay_microseconds: 500 },
    },
    { name: 'balanced', params: { max_batch_size: 128, max_prefill_token: 8192 } },
  ],
  plan: mindiePlan,
  putBack: (config, machine, group) => putBackCommand(config, { ...group.env, ...machine.env }),
  inspection: (config, machine, group) =>
    inspectionCommand(config, machine.npu_ids, { ...group.env, ...machine.env }),

  refine(_config, fields, { nodes: [master] }, guidance) {
    const found = parseInspection(master?.inspected);
    if (found?.config === undefined) return { fields, notes: [] };
    return withBounds(withPresentValues(fields, found.config), found, guidance);
  },

  readBack(config, asked, topology) {
    const { probeUrl, origin } = placesOf({ config, params: asked, topology });
    return { urls: [`${new URL(probeUrl).origin}/info`, `${origin}/info`], parse: parseInfo };
  },

  logPatterns: [
    params('Warmup failed due to NPU out of memory when'),
    params('Warmup failed. This could be caused by setting both'),
    params('Npu out of memory, OOM.'),
    params('Trying to create tensor with negative dimension'),
    params(
      'block is not enough',
      'Lower the batch size or the sequence length: the KV cache is too small for them.',
    ),
    params(
      'out of memory, need block',
      'Lower the batch size or the sequence length: the KV cache is too small for them.',
    ),
    operator(
      'Check_path: config.json failed',
      'config.json and its directory must belong to the running user, mode 0640 at most.',
    ),
    operator('Ranktable file is not exist', 'Report this: the rank table is written by this program.'),
    operator(
      'Failed to parse the json data of ranktable',
      'Check the device addresses: hccn_tool -i N -ip -g.',
    ),
    operator('Master IP address is not set', 'Set MASTER_IP in [parallel.defaults.env].'),
    operator(
      'LLMPythonModel initializes fail',
      'See the Python log of MindIE (~/mindie/log/debug): often the model path.',
    ),
    node('Socket bind failed', 'Something else holds the port on this node.'),
    wrapper('Failed to init endpoint! Please check the service log or console output.'),
    wrapper('Daemon is killing, please wait'),
    ...commonPatterns,
  ],
};
