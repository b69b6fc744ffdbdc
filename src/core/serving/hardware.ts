/**
 * What a serving engine runs on and with, as numbers: enough for a roofline (Williams et al. 2009) of one step of
 * continuous batching. Sizes are bytes, rates are per second, times are ms.
 */

const gib = 1024 ** 3;

export interface Accelerator {
  readonly name: string;
  readonly memoryBytes: number;
  /** Memory bandwidth that a kernel really gets. */
  readonly memoryBytesPerS: number;
  /** Floating point operations that a matrix product really gets. */
  readonly flopsPerS: number;
  /** Between the accelerators of one machine. */
  readonly linkBytesPerS: number;
  /** Between machines. */
  readonly networkBytesPerS: number;
  /** Of one collective operation, in one machine and over several. */
  readonly linkLatencyMs: number;
  readonly networkLatencyMs: number;
}

export interface ModelShape {
  readonly name: string;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly parameters: number;
  /** Parameters that one token passes: fewer than all in a mixture of experts. */
  readonly activeParameters: number;
  readonly bytesPerParameter: number;
}

/** What the user sets; the names of vLLM. */
export interface ServingSettings {
  readonly max_num_seqs: number;
  readonly max_num_batched_tokens: number;
  readonly tensor_parallel_size: number;
  readonly data_parallel_size: number;
  readonly gpu_memory_utilization: number;
  readonly max_model_len: number;
  readonly enable_chunked_prefill: boolean;
  readonly block_size: number;
}

export interface Deployment {
  readonly model: ModelShape;
  readonly accelerator: Accelerator;
  readonly acceleratorsPerNode: number;
  readonly nodes: number;
  /** The scheduler's and the API server's work a step, and for every sequence in it. */
  readonly stepOverheadMs: number;
  readonly sequenceOverheadMs: number;
}

export const kvBytesPerToken = ({ layers, kvHeads, headDim }: ModelShape): number =>
  2 * layers * kvHeads * headDim * 2;

/** Why a configuration cannot start, in words and numbers. */
export interface CannotServe {
  readonly kind: 'devices' | 'weights' | 'kv_cache' | 'batched_tokens';
  readonly message: string;
}

export interface KvCache {
  readonly blocks: number;
  readonly bytes: number;
}

const inGib = (bytes: number): string => (bytes / gib).toFixed(2);

/** Activations at their peak: some copies of the widest tensor for every token of a step. */
function activationBytes({ model }: Deployment, settings: ServingSettings): number {
  const tokens = Math.max(settings.max_num_batched_tokens, settings.max_num_seqs);
  return (tokens * model.hiddenSize * 2 * 40) / settings.tensor_parallel_size;
}

/** Captured graphs and communication buffers. */
const reservedBytes = ({ max_num_seqs: seqs }: ServingSettings): number => 1.2 * gib + seqs * 2 * 1024 ** 2;

/** What is left for the KV cache of one replica on each of its accelerators, or why it cannot start. */
export function planMemory(deployment: Deployment, settings: ServingSettings): KvCache | CannotServe {
  const { model, accelerator, nodes, acceleratorsPerNode } = deployment;
  const { tensor_parallel_size: tp, data_parallel_size: dp, max_model_len: length } = settings;
  const available = nodes * acceleratorsPerNode;
  if (tp * dp > available) {
    const message = `World size (${tp * dp}) is larger than the number of available devices (${available}): tensor_parallel_size ${tp} × data_parallel_size ${dp}`;
    return { kind: 'devices', message };
  }
  if (!settings.enable_chunked_prefill && settings.max_num_batched_tokens < length) {
    const message = `max_num_batched_tokens (${settings.max_num_batched_tokens}) is smaller than max_model_len (${length}) and chunked prefill is off`;
    return { kind: 'batched_tokens', message };
  }
  const budget = accelerator.memoryBytes * settings.gpu_memory_utilization;
  const weights = (model.parameters * model.bytesPerParameter) / tp;
  const activations = activationBytes(deployment, settings);
  if (weights > accelerator.memoryBytes - reservedBytes(settings)) {
    const message = `CUDA out of memory. Tried to allocate ${inGib(weights)} GiB of weights on a device of ${inGib(accelerator.memoryBytes)} GiB`;
    return { kind: 'weights', message };
  }
  const left = budget - weights - activations - reservedBytes(settings);
  const perToken = kvBytesPerToken(model) / tp;
  const needed = length * perToken;
  if (left < needed) {
    const fits = Math.max(0, Math.floor(left / perToken));
    const message = `To serve at least one request with the model's max seq len (${length}), (${inGib(needed)} GiB KV cache is needed, which is larger than the available KV cache memory (${inGib(Math.max(0, left))} GiB). Based on the available memory, the estimated maximum model length is ${fits}.`;
    return { kind: 'kv_cache', message };
  }
  return { bytes: left, blocks: Math.floor(left / (perToken * settings.block_size)) };
}

export const cannotServe = (plan: KvCache | CannotServe): plan is CannotServe => 'kind' in plan;

/** What one step works on: tokens computed, sequences in it, and the tokens whose keys and values it reads. */
export interface StepLoad {
  readonly tokens: number;
  readonly sequences: number;
  readonly contextTokens: number;
}

/**
 * The time of one step on one replica, in ms: the slower of arithmetic and memory, then the collectives, then the
 * scheduler. What does not change from step to step is worked out once.
 */
export function stepTimes(deployment: Deployment, settings: ServingSettings): (load: StepLoad) => number {
  const { model, accelerator, acceleratorsPerNode } = deployment;
  const { tensor_parallel_size: tp } = settings;
  const flopsPerToken = 2 * model.activeParameters;
  const attentionPerToken = 4 * model.layers * model.hiddenSize;
  const flopsPerS = tp * accelerator.flopsPerS;
  const share = model.activeParameters / model.parameters;
  const weights = model.parameters * model.bytesPerParameter;
  const kvBytes = kvBytesPerToken(model);
  const memoryPerS = tp * accelerator.memoryBytesPerS;
  const crossing = tp > acceleratorsPerNode;
  const bandwidth = crossing ? accelerator.networkBytesPerS : accelerator.linkBytesPerS;
  const latency = crossing ? accelerator.networkLatencyMs : accelerator.linkLatencyMs;
  const waiting = tp === 1 ? 0 : 2 * model.layers * latency * Math.log2(tp);
  const reducedPerToken = 2 * model.layers * model.hiddenSize * 2 * ((2 * (tp - 1)) / tp);
  const { stepOverheadMs, sequenceOverheadMs } = deployment;
  return ({ tokens, sequences, contextTokens }) => {
    const compute = (flopsPerToken * tokens + attentionPerToken * contextTokens) / flopsPerS;
    // A small batch of a mixture of experts reads only the experts that it needs.
    const touched = share === 1 ? 1 : Math.min(1, share + (1 - share) * (1 - Math.exp(-tokens / 64)));
    const memory = (weights * touched + contextTokens * kvBytes) / memoryPerS;
    const collectives = waiting + (1000 * reducedPerToken * tokens) / bandwidth;
    const scheduler = stepOverheadMs + sequenceOverheadMs * sequences;
    return 1000 * Math.max(compute, memory) + collectives + scheduler;
  };
}
