import { writeFileSync } from 'node:fs';
import { createRng } from '../../src/base/rng.ts';

/** Writes a small language model with random weights: it says nothing, but it computes as one that does. */

type Value =
  | { readonly type: 'u32'; readonly value: number }
  | { readonly type: 'f32'; readonly value: number }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'f32s'; readonly value: readonly number[] }
  | { readonly type: 'i32s'; readonly value: readonly number[] };

const codes = { u32: 4, i32: 5, f32: 6, string: 8, array: 9 } as const;
const alignment = 32;
const half = 1;
const single = 0;

class Writer {
  readonly #parts: Buffer[] = [];
  length = 0;

  bytes(part: Buffer): this {
    this.#parts.push(part);
    this.length += part.length;
    return this;
  }
  u32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    return this.bytes(part);
  }
  u64(value: number): this {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    return this.bytes(part);
  }
  f32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeFloatLE(value);
    return this.bytes(part);
  }
  i32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeInt32LE(value);
    return this.bytes(part);
  }
  text(value: string): this {
    const part = Buffer.from(value);
    return this.u64(part.length).bytes(part);
  }
  pad(): this {
    const rest = this.length % alignment;
    return rest === 0 ? this : this.bytes(Buffer.alloc(alignment - rest));
  }
  value(given: Value): this {
    switch (given.type) {
      case 'u32':
        return this.u32(codes.u32).u32(given.value);
      case 'f32':
        return this.u32(codes.f32).f32(given.value);
      case 'string':
        return this.u32(codes.string).text(given.value);
      case 'strings':
        this.u32(codes.array).u32(codes.string).u64(given.value.length);
        for (const one of given.value) this.text(one);
        return this;
      case 'f32s':
        this.u32(codes.array).u32(codes.f32).u64(given.value.length);
        for (const one of given.value) this.f32(one);
        return this;
      case 'i32s':
        this.u32(codes.array).u32(codes.i32).u64(given.value.length);
        for (const one of given.value) this.i32(one);
        return this;
    }
  }
  get buffer(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

/** IEEE half precision of a small number. */
function halfOf(value: number): number {
  const bits = new Uint32Array(new Float32Array([value]).buffer)[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 112;
  if (exponent <= 0) return sign;
  return sign | (exponent << 10) | ((bits >>> 13) & 0x3ff);
}

export interface Shape {
  readonly embedding: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly feedForward: number;
  readonly words: number;
  readonly context: number;
}

/** <unk>, <s>, </s>, the bytes, then words. */
function vocabulary(words: number): { tokens: string[]; scores: number[]; types: number[] } {
  const bytes = Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
  const syllables = [
    'ba',
    'do',
    'ki',
    'lu',
    'me',
    'no',
    'pa',
    'ri',
    'su',
    'ta',
    've',
    'wo',
    'xi',
    'yu',
    'za',
    'fo',
  ];
  const word = (i: number): string =>
    `\u2581${syllables[i % 16]}${syllables[Math.floor(i / 16) % 16]}${syllables[Math.floor(i / 256) % 16]}`;
  const more = Array.from({ length: words }, (_, i) => word(i));
  const [normal, unknown, control, byte] = [1, 2, 3, 6];
  return {
    tokens: ['<unk>', '<s>', '</s>', ...bytes, ...more],
    scores: [0, 0, 0, ...bytes.map(() => 0), ...more.map((_, i) => -i)],
    types: [unknown, control, control, ...bytes.map(() => byte), ...more.map(() => normal)],
  };
}

interface Tensor {
  readonly name: string;
  readonly dimensions: readonly number[];
  readonly type: number;
  readonly data: Buffer;
}

export function writeModel(file: string, shape: Shape, seed = 1): { readonly parameters: number } {
  const { embedding: n, layers, heads, kvHeads, feedForward: ff, words, context } = shape;
  const { tokens, scores, types } = vocabulary(words);
  const rng = createRng(seed);
  const table = Array.from({ length: 4096 }, () => (rng.next() * 2 - 1) * 1.7);
  let parameters = 0;
  const matrix = (name: string, from: number, to: number): Tensor => {
    const scale = 1 / Math.sqrt(from);
    const halves = Uint16Array.from(table, (value) => halfOf(value * scale));
    const data = new Uint16Array(from * to);
    let state = Math.floor(rng.next() * 0xffff_ffff) | 1;
    for (let i = 0; i < data.length; i++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      data[i] = halves[state >>> 20]!;
    }
    parameters += data.length;
    return { name, dimensions: [from, to], type: half, data: Buffer.from(data.buffer) };
  };
  const norm = (name: string): Tensor => {
    const ones = new Float32Array(n).fill(1);
    parameters += n;
    return { name, dimensions: [n], type: single, data: Buffer.from(ones.buffer) };
  };
  const kv = (n / heads) * kvHeads;
  const output = matrix('output.weight', n, tokens.length);
  output.data.fill(0, 0, 3 * n * 2); // it never says that it has finished
  const tensors = [
    matrix('token_embd.weight', n, tokens.length),
    norm('output_norm.weight'),
    output,
    ...Array.from({ length: layers }, (_, i) => [
      norm(`blk.${i}.attn_norm.weight`),
      matrix(`blk.${i}.attn_q.weight`, n, n),
      matrix(`blk.${i}.attn_k.weight`, n, kv),
      matrix(`blk.${i}.attn_v.weight`, n, kv),
      matrix(`blk.${i}.attn_output.weight`, n, n),
      norm(`blk.${i}.ffn_norm.weight`),
      matrix(`blk.${i}.ffn_gate.weight`, n, ff),
      matrix(`blk.${i}.ffn_up.weight`, n, ff),
      matrix(`blk.${i}.ffn_down.weight`, ff, n),
    ]).flat(),
  ];
  const u32 = (value: number): Value => ({ type: 'u32', value });
  const metadata: [string, Value][] = [
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['general.name', { type: 'string', value: 'random' }],
    ['llama.context_length', u32(context)],
    ['llama.embedding_length', u32(n)],
    ['llama.block_count', u32(layers)],
    ['llama.feed_forward_length', u32(ff)],
    ['llama.attention.head_count', u32(heads)],
    ['llama.attention.head_count_kv', u32(kvHeads)],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: 1e-5 }],
    ['llama.rope.dimension_count', u32(n / heads)],
    ['llama.vocab_size', u32(tokens.length)],
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.tokens', { type: 'strings', value: tokens }],
    ['tokenizer.ggml.scores', { type: 'f32s', value: scores }],
    ['tokenizer.ggml.token_type', { type: 'i32s', value: types }],
    ['tokenizer.ggml.bos_token_id', u32(1)],
    ['tokenizer.ggml.eos_token_id', u32(2)],
    ['tokenizer.ggml.unknown_token_id', u32(0)],
  ];
  const writer = new Writer().bytes(Buffer.from('GGUF')).u32(3).u64(tensors.length).u64(metadata.length);
  for (const [key, value] of metadata) writer.text(key).value(value);
  let offset = 0;
  for (const { name, dimensions, type, data } of tensors) {
    writer.text(name).u32(dimensions.length);
    for (const dimension of dimensions) writer.u64(dimension);
    writer.u32(type).u64(offset);
    offset += Math.ceil(data.length / alignment) * alignment;
  }
  writer.pad();
  for (const { data } of tensors) writer.bytes(data).pad();
  writeFileSync(file, writer.buffer);
  return { parameters };
}
