import { ConfigValidationError } from '../../base/errors.ts';
import type { Field } from '../../core/space/field.ts';

/** What the model's own config.json says, by its keys. */
export interface ModelShape {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly num_hidden_layers: number;
  readonly num_key_value_heads: number;
  readonly vocab_size: number;
  readonly max_position_embeddings: number;
  readonly torch_dtype?: string | undefined;
}

/** The engine's configuration, as far as memory follows from it. */
export interface MindieMemory {
  readonly cacheBlockSize: number;
  readonly maxPrefillTokens: number;
  readonly maxIterTimes: number;
  /** GiB for the KV cache of a device; -1: what is left. */
  readonly npuMemSize: number;
  readonly tp?: number | undefined;
}

export interface DeviceMemory {
  readonly totalMb: number;
  /** Percent that is in use before the service starts. */
  readonly usedPercent: number;
  readonly memCoefficient: number;
}

/** Tokens of requests. */
export interface Workload {
  readonly meanInput: number;
  readonly maxOutput: number;
}

/** Requests that the memory holds at a time. */
export interface BatchBounds {
  readonly lower: number;
  readonly upper: number;
}

const gib = 2 ** 30;
/** The longest input that activations are planned for. */
const plannedInput = 8192;

/** The original's reading, which recorded bounds depend on: other eight-bit types than int8 count as two bytes. */
function bytesPerValue(dtype = ''): number {
  if (dtype.includes('16')) return 2;
  if (dtype.includes('int8')) return 1;
  return dtype.includes('32') ? 4 : 2;
}

/** K and V of one token in all layers, bytes. */
export function kvBytesPerToken(model: ModelShape): number {
  const { hidden_size, num_attention_heads, num_key_value_heads, num_hidden_layers } = model;
  const head = hidden_size / num_attention_heads;
  return head * num_key_value_heads * num_hidden_layers * 2 * bytesPerValue(model.torch_dtype);
}

export function weightsMb(model: ModelShape): number {
  const { hidden_size: h, vocab_size, max_position_embeddings, num_hidden_layers: layers } = model;
  const parameters =
    vocab_size * h + max_position_embeddings * h + layers * 12 * h * h + vocab_size * h + 2 * h;
  return (parameters * bytesPerValue(model.torch_dtype)) / 2 ** 20;
}

export function peakActivationBytes(model: ModelShape, { maxPrefillTokens: t }: MindieMemory): number {
  const { hidden_size: h, num_attention_heads: heads, intermediate_size } = model;
  const values = t * h + 3 * t * h + heads * t * plannedInput + t * intermediate_size;
  return values * bytesPerValue(model.torch_dtype);
}

/** GiB of a device that are left for the KV cache. */
export function kvCacheGb(model: ModelShape, engine: MindieMemory, device: DeviceMemory): number {
  if (engine.npuMemSize !== -1) return engine.npuMemSize;
  const tp = Math.max(1, engine.tp ?? 1);
  const free = ((device.totalMb / 1024) * (100 - device.usedPercent)) / 100;
  const weights = weightsMb(model) / 1024 / tp;
  const activations = peakActivationBytes(model, engine) / gib / tp;
  return free * device.memCoefficient - weights - activations;
}

/** @throws ConfigValidationError where a block or a request has no size */
export function batchBounds(
  model: ModelShape,
  engine: MindieMemory,
  device: DeviceMemory,
  { meanInput, maxOutput }: Workload,
): BatchBounds {
  const block = engine.cacheBlockSize;
  const token = kvBytesPerToken(model);
  const longest = Math.ceil(meanInput / block + maxOutput / block);
  const shortest = Math.ceil(meanInput / block);
  if (!(block * token > 0) || longest === 0 || shortest === 0) {
    throw new ConfigValidationError('cacheBlockSize', block, 'blocks and requests must have a size');
  }
  const blocks = Math.floor((kvCacheGb(model, engine, device) * gib) / (block * token));
  return { lower: Math.floor(blocks / longest), upper: Math.ceil(blocks / shortest) };
}

/** The field with what the memory allows as its bounds, as far as they lie within the user's. */
export function guided(field: Field, { lower, upper }: BatchBounds, scalingCoefficient: number): Field {
  if (!(lower > 0 && lower < upper)) return field;
  const min = lower > field.min && lower < field.max ? lower : field.min;
  const scaled = Math.trunc(upper * scalingCoefficient);
  const max = [scaled, upper].find((bound) => bound > min && bound < field.max) ?? field.max;
  return { ...field, min, max };
}
