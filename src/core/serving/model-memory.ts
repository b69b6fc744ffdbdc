/** Memory arithmetic from a model's own config.json: what cannot fit needs no start to be found out. */

/** The keys that Hugging Face's configurations share. */
export type ModelConfig = Readonly<Record<string, unknown>>;

/** How the model is spread: every replica has a whole copy over tp · pp devices. */
export interface Spread {
  readonly tp: number;
  readonly pp: number;
}

export interface Device {
  readonly gib: number;
  /** The share of it that the engine may use. */
  readonly utilization: number;
}

const gib = 2 ** 30;
/** What quantised or tied weights and the like may save against this arithmetic: nothing is refused on an estimate. */
const certainty = 0.95;

function number(model: ModelConfig, ...keys: string[]): number | undefined {
  const found = keys.map((key) => model[key]).find((value) => typeof value === 'number');
  return typeof found === 'number' ? found : undefined;
}

function bytesPerValue(model: ModelConfig): number {
  const named = model['torch_dtype'] ?? model['dtype'];
  const dtype = typeof named === 'string' ? named : 'bfloat16';
  if (dtype.includes('8')) return 1;
  return dtype.includes('32') ? 4 : 2;
}

/** Of weights: quantised ones have fewer bits than the model computes with. */
function bytesPerWeight(model: ModelConfig): number {
  const quantization = model['quantization_config'];
  if (typeof quantization !== 'object' || quantization === null) return bytesPerValue(model);
  const bits = number(quantization as ModelConfig, 'bits');
  return bits === undefined ? 0.5 : bits / 8;
}

interface Shape {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly vocabulary: number;
}

/** undefined: it lacks what the arithmetic needs, or its attention has another form. */
function shapeOf(model: ModelConfig): Shape | undefined {
  const [hidden, layers, heads, vocabulary] = [
    number(model, 'hidden_size'),
    number(model, 'num_hidden_layers'),
    number(model, 'num_attention_heads'),
    number(model, 'vocab_size'),
  ];
  const latent = number(model, 'kv_lora_rank') !== undefined;
  if (
    latent ||
    hidden === undefined ||
    layers === undefined ||
    heads === undefined ||
    vocabulary === undefined
  )
    return undefined;
  const kvHeads = number(model, 'num_key_value_heads') ?? heads;
  return { hidden, layers, heads, kvHeads, vocabulary, headDim: number(model, 'head_dim') ?? hidden / heads };
}

/** Parameters of the feed-forward part of one layer: gated, of all experts. */
function feedForward(model: ModelConfig, hidden: number): number | undefined {
  const dense = number(model, 'intermediate_size');
  const experts = number(model, 'num_experts', 'n_routed_experts', 'num_local_experts');
  if (experts === undefined) return dense === undefined ? undefined : 3 * hidden * dense;
  const size = number(model, 'moe_intermediate_size') ?? dense;
  const shared = number(model, 'n_shared_experts') ?? 0;
  return size === undefined ? undefined : 3 * hidden * size * (experts + shared);
}

/** GiB of all weights. */
export function weightsGib(model: ModelConfig): number | undefined {
  const shape = shapeOf(model);
  const forward = shape && feedForward(model, shape.hidden);
  if (shape === undefined || forward === undefined) return undefined;
  const { hidden, layers, heads, kvHeads, headDim, vocabulary } = shape;
  const attention = 2 * hidden * heads * headDim + 2 * hidden * kvHeads * headDim;
  const embeddings = (model['tie_word_embeddings'] === true ? 1 : 2) * vocabulary * hidden;
  return (layers * (attention + forward) * bytesPerWeight(model) + embeddings * bytesPerValue(model)) / gib;
}

/** K and V of one token in all layers, bytes. */
export function kvBytesPerToken(model: ModelConfig, bytes = bytesPerValue(model)): number | undefined {
  const shape = shapeOf(model);
  return shape && 2 * shape.layers * shape.kvHeads * shape.headDim * bytes;
}

/** Layers that look at a part of the tokens, or keep a state instead of them, need less cache than the arithmetic says. */
function isAllAttention(model: ModelConfig): boolean {
  const { layer_types: layers, sliding_window: sliding, use_sliding_window: slides } = model;
  const isWhole = !Array.isArray(layers) || layers.every((layer) => layer === 'full_attention');
  const isWindowed = typeof sliding === 'number' && slides !== false;
  const others = /mamba|ssm|linear_|recurrent|attn_layer|attention_chunk|hybrid/;
  return isWhole && !isWindowed && !Object.keys(model).some((key) => others.test(key));
}

/**
 * How many requests, of so many tokens each while they run, the KV cache holds at once at most: with all devices for one
 * copy of the weights. undefined where the arithmetic lacks something, or the weights leave no room.
 */
export function requestsHeld(
  model: ModelConfig,
  devices: number,
  { gib: memory, utilization }: Device,
  { tokens, kvBytes }: { readonly tokens: number; readonly kvBytes: number | undefined },
): number | undefined {
  const weights = weightsGib(model);
  const perToken = kvBytesPerToken(model, kvBytes);
  if (weights === undefined || perToken === undefined || !isAllAttention(model)) return undefined;
  const room = devices * memory * utilization - weights * certainty;
  return room > 0 ? Math.floor((room * gib) / (perToken * tokens)) : undefined;
}

const text = (value: number): string => value.toFixed(1);

/** Why a configuration cannot serve a single request of so many tokens, with the numbers; undefined: it may. */
export function whyItCannotFit(
  model: ModelConfig,
  { tp, pp }: Spread,
  { gib: memory, utilization }: Device,
  tokens: number,
): string | undefined {
  const weights = weightsGib(model);
  const perToken = kvBytesPerToken(model);
  if (weights === undefined || perToken === undefined) return undefined;
  const room = memory * utilization;
  const share = weights / (tp * pp);
  const where = `a device has ${text(memory)} GiB, of which ${utilization.toFixed(2)} may be used`;
  if (share * certainty > room)
    return `the weights take ${text(weights)} GiB, ${text(share)} GiB on each of ${tp * pp} devices (tp${tp}, pp${pp}); ${where}`;
  const cache = (perToken * tokens) / (tp * pp) / gib;
  return (share + cache) * certainty > room
    ? `${text(share)} GiB of weights and ${text(cache)} GiB of KV cache for one request of ${tokens} tokens do not fit on each of ${tp * pp} devices; ${where}`
    : undefined;
}
