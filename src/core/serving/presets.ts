import type { Accelerator, Deployment, ModelShape, ServingSettings } from './hardware.ts';

const gib = 1024 ** 3;

/** A data-centre accelerator of 64 GiB, with what its kernels get, not what its data sheet says. */
const accelerator: Accelerator = {
  name: 'generic 64 GiB',
  memoryBytes: 64 * gib,
  memoryBytesPerS: 1.2e12,
  flopsPerS: 1.6e14,
  linkBytesPerS: 1.5e11,
  networkBytesPerS: 1.8e10,
  linkLatencyMs: 0.012,
  networkLatencyMs: 0.045,
};

/** 7.6 billion parameters, dense. */
const small: ModelShape = {
  name: 'sim-dense-7b',
  layers: 28,
  hiddenSize: 3584,
  kvHeads: 4,
  headDim: 128,
  parameters: 7.6e9,
  activeParameters: 7.6e9,
  bytesPerParameter: 2,
};

/** 235 billion parameters, 22 of them at work for a token. */
const large: ModelShape = {
  name: 'sim-moe-235b',
  layers: 94,
  hiddenSize: 4096,
  kvHeads: 4,
  headDim: 128,
  parameters: 2.35e11,
  activeParameters: 2.2e10,
  bytesPerParameter: 2,
};

/** A model on machines, with the settings that its documentation starts it with. */
export interface Preset {
  readonly deployment: Deployment;
  readonly defaults: ServingSettings;
  /** What the load looks like. */
  readonly load: { readonly inputTokens: number; readonly outputTokens: number };
  readonly startUpMs: number;
}

const usual: ServingSettings = {
  max_num_seqs: 256,
  max_num_batched_tokens: 2048,
  tensor_parallel_size: 1,
  data_parallel_size: 1,
  gpu_memory_utilization: 0.9,
  max_model_len: 32_768,
  enable_chunked_prefill: true,
  block_size: 16,
};

function preset(model: ModelShape, nodes: number, settings: Partial<ServingSettings>): Preset {
  return {
    deployment: {
      model,
      accelerator,
      acceleratorsPerNode: 8,
      nodes,
      stepOverheadMs: 1.5,
      sequenceOverheadMs: 0.02,
    },
    defaults: { ...usual, ...settings },
    load: { inputTokens: 1024, outputTokens: 256 },
    startUpMs: (model.parameters * model.bytesPerParameter) / 4e6,
  };
}

/**
 * The demonstration's: the large model on two machines whose accelerators are slow enough for four emulators and
 * their load to fit two cores. It tops out at 2,500 tokens/s.
 */
const demo: Preset = {
  deployment: {
    model: large,
    accelerator: {
      ...accelerator,
      memoryBytesPerS: 1.7e12,
      flopsPerS: 1.3e14,
      networkBytesPerS: 3e10,
      networkLatencyMs: 0.016,
    },
    acceleratorsPerNode: 8,
    nodes: 2,
    stepOverheadMs: 1.5,
    sequenceOverheadMs: 0.06,
  },
  defaults: { ...usual, tensor_parallel_size: 16 },
  load: { inputTokens: 192, outputTokens: 48 },
  startUpMs: 700,
};

export const presets = {
  demo,
  'small-8': preset(small, 1, { tensor_parallel_size: 8 }),
  'small-16': preset(small, 2, { tensor_parallel_size: 8, data_parallel_size: 2 }),
  'large-8': preset(large, 1, { tensor_parallel_size: 8, max_model_len: 8192 }),
  'large-16': preset(large, 2, { tensor_parallel_size: 16 }),
} as const satisfies Readonly<Record<string, Preset>>;

export type PresetName = keyof typeof presets;
export const presetNames = Object.keys(presets) as [PresetName, ...PresetName[]];
