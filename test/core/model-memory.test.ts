import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import type { ServingParams } from '../../src/core/space/field.ts';
import {
  kvBytesPerToken,
  requestsHeld,
  weightsGib,
  whyItCannotFit,
} from '../../src/core/serving/model-memory.ts';
import { trialId } from '../../src/base/units.ts';
import { memoryInspection, refusedByMemory } from '../../src/engines/memory-prior.ts';
import { vllmEngine } from '../../src/engines/vllm/vllm.ts';
import { NodeConfig, ServiceGroupConfig } from '../../src/config/parallel-config.ts';
import type { GroupTopology } from '../../src/parallel/ports.ts';
import { topologyOf } from '../../src/parallel/topology.ts';

/** Published shapes, and the sizes of their published weights. */
const qwen7 = {
  ...{ hidden_size: 3584, num_hidden_layers: 28, num_attention_heads: 28, num_key_value_heads: 4 },
  ...{ intermediate_size: 18_944, vocab_size: 152_064, torch_dtype: 'bfloat16', tie_word_embeddings: false },
};
const llama70 = {
  ...{ hidden_size: 8192, num_hidden_layers: 80, num_attention_heads: 64, num_key_value_heads: 8 },
  ...{ intermediate_size: 28_672, vocab_size: 128_256, torch_dtype: 'bfloat16' },
};
const mixtral = {
  ...{ hidden_size: 4096, num_hidden_layers: 32, num_attention_heads: 32, num_key_value_heads: 8 },
  ...{ intermediate_size: 14_336, vocab_size: 32_000, torch_dtype: 'bfloat16', num_local_experts: 8 },
};

describe('the memory of a model', () => {
  test.each([
    ['7.6 billion parameters', qwen7, 7.616e9],
    ['70.6 billion parameters', llama70, 70.55e9],
    ['46.7 billion parameters in 8 experts', mixtral, 46.7e9],
  ])('%s', (_name, model, parameters) => {
    const exact = (parameters * 2) / 2 ** 30;
    expect(weightsGib(model)! / exact).toBeGreaterThan(0.99);
    expect(weightsGib(model)! / exact).toBeLessThan(1.01);
  });

  test('quantised weights are as small as their bits', () => {
    const small = { ...llama70, quantization_config: { quant_method: 'awq', bits: 4 } };
    expect(weightsGib(small)! / weightsGib(llama70)!).toBeLessThan(0.28); // embeddings are as they were
  });

  test('K and V of a token', () => {
    expect(kvBytesPerToken(qwen7)).toBe(2 * 28 * 4 * 128 * 2);
  });

  test('what it cannot know it does not judge', () => {
    expect(weightsGib({})).toBeUndefined();
    expect(kvBytesPerToken({ ...llama70, kv_lora_rank: 512 })).toBeUndefined();
    expect(whyItCannotFit({}, { tp: 1, pp: 1 }, { gib: 1, utilization: 0.9 }, 1)).toBeUndefined();
  });

  test.each([
    ['all of its layers see all tokens', {}, true],
    ['a window that is not used', { sliding_window: 131_072, use_sliding_window: false }, true],
    ['layers named one by one', { layer_types: ['full_attention', 'full_attention'] }, true],
    ['a window', { sliding_window: 4096 }, false],
    ['some layers with a window', { layer_types: ['full_attention', 'sliding_attention'] }, false],
    ['layers with a state', { linear_num_value_heads: 32 }, false],
    ['layers with a state of another kind', { mamba_d_state: 128 }, false],
  ])('how many requests the cache holds: %s', (_what, more, isKnown) => {
    const load = { tokens: 1000, kvBytes: undefined };
    const held = requestsHeld({ ...qwen7, ...more }, 2, { gib: 64, utilization: 0.9 }, load);
    expect(held !== undefined).toBe(isKnown);
    // Weights that leave no room say nothing of a bound.
    expect(requestsHeld({ ...qwen7, ...more }, 1, { gib: 8, utilization: 0.9 }, load)).toBeUndefined();
  });

  test('a refusal is a sentence with the numbers', () => {
    const device = { gib: 64, utilization: 0.9 };
    expect(whyItCannotFit(llama70, { tp: 2, pp: 1 }, device, 1000)).toBe(
      'the weights take 131.4 GiB, 65.7 GiB on each of 2 devices (tp2, pp1); a device has 64.0 GiB, of which 0.90 may be used',
    );
    expect(whyItCannotFit(llama70, { tp: 4, pp: 1 }, device, 1000)).toBeUndefined();
    expect(whyItCannotFit(llama70, { tp: 2, pp: 2 }, device, 1000)).toBeUndefined();
    const long = whyItCannotFit(llama70, { tp: 4, pp: 1 }, device, 500_000);
    expect(long).toContain('KV cache for one request of 500000 tokens');
  });
});

describe('what a node says of a model', () => {
  const inspected = `nnodes=yes\n--- model\n${JSON.stringify(llama70, null, 2)}\n\n--- end\nmemory 65536\n`;
  const nodes = [new NodeConfig({ host: 'a', npu_ids: [0, 1, 2, 3] })];
  const config = new ServiceGroupConfig({ group_id: 0, nodes });
  const run = { runId: 'r', trialId: trialId(0), start: 0, sharesPaths: false };
  const topology: GroupTopology = topologyOf(config, run);
  const known: GroupTopology = { ...topology, nodes: topology.nodes.map((node) => ({ ...node, inspected })) };
  const guidance = { theory: { memCoefficient: 0.8, scalingCoefficient: 1.3 }, workload: undefined };

  test('refuses a layout that cannot hold the weights, unless that is switched off', () => {
    const settings = vllmEngine.config.parse({ command: { model: '/models/llama' } });
    const refused = (params: ServingParams, about = guidance, where = known): string | undefined =>
      vllmEngine.refused?.(settings, { ...params }, where, about);
    expect(refused({ LAYOUT: 'tp1dp4' })).toContain('131.4 GiB on each of 1 devices');
    expect(refused({ LAYOUT: 'tp4' })).toBeUndefined();
    expect(refused({ LAYOUT: 'tp4', GPU_MEMORY_UTILIZATION: 0.45 })).toContain('of which 0.45');
    expect(refused({ LAYOUT: 'tp1dp4' }, { ...guidance, theory: undefined } as never)).toBeUndefined();
    expect(refused({ LAYOUT: 'tp1dp4' }, guidance, topology)).toBeUndefined();
  });

  test('no more requests are asked for than the cache holds, unless that is switched off', () => {
    const settings = vllmEngine.config.parse({ command: { model: '/models/llama' } });
    const fields = vllmEngine.fieldsOf(settings, { nodes: 1, devicesPerNode: 4 } as never);
    const long = { ...guidance, workload: { inputTokens: 8000, outputTokens: 400 } };
    const most = (about: object, where = known, own = fields): number | undefined =>
      vllmEngine
        .refine?.(settings, own, where, about as never)
        .fields.find(({ name }) => name === 'MAX_NUM_SEQS')?.max;
    // 4 × 64 GiB × 0.95 less 0.95 × 131.4 GiB of weights, over 8,200 tokens of 2 · 80 · 8 · 128 · 2 bytes each: 47, times 1.3.
    const utilization = fields.find(({ name }) => name === 'GPU_MEMORY_UTILIZATION')!.max;
    const held = Math.floor(((256 * utilization - 0.95 * weightsGib(llama70)!) * 2 ** 30) / (327_680 * 8200));
    expect(held).toBeGreaterThan(40);
    // What runs today stays within the bounds.
    expect(most(long)).toBe(256);
    const few = fields.map((field) => (field.name === 'MAX_NUM_SEQS' ? { ...field, value: 32 } : field));
    expect(most(long, known, few)).toBe(Math.ceil(held * 1.3));
    expect(vllmEngine.refine?.(settings, few, known, long).notes[0]).toBe(
      `MAX_NUM_SEQS: searched up to ${Math.ceil(held * 1.3)}: the KV cache of 4 devices holds ${held} requests of 8200 tokens`,
    );
    for (const about of [{ ...long, theory: undefined }, guidance])
      expect(most(about, known, few)).toBe(1024);
    expect(most(long, topology, few)).toBe(1024);
    const fixed = few.map((field) => (field.name === 'MAX_NUM_SEQS' ? { ...field, constant: 32 } : field));
    expect(vllmEngine.refine?.(settings, fixed, known, long).notes).toEqual([]);
    // A cache of one byte a value holds twice as many.
    const small = vllmEngine.config.parse({ command: { model: '/m', others: '--kv-cache-dtype fp8' } });
    const twice = vllmEngine
      .refine?.(small, few, known, long)
      .fields.find(({ name }) => name === 'MAX_NUM_SEQS');
    expect(twice!.max).toBeGreaterThan(2.5 * held);
  });

  test('a model that is not there, and a tool that does not tell, refuse nothing', () => {
    for (const text of [
      '',
      'memory 65536',
      '--- model\n{\n--- end\nmemory 65536',
      inspected.replace('65536', 'N/A'),
    ]) {
      const nodes = topology.nodes.map((node) => ({ ...node, inspected: text }));
      expect(refusedByMemory({ ...topology, nodes }, { tp: 1, pp: 1 }, 0.9, guidance)).toBeUndefined();
    }
  });

  test('is asked with the words of the user as words', () => {
    const before = { argv: ['sh', '-c', 'echo "$#:$1"', 'sh', 'my vllm'] as const, label: 'x', env: {} };
    const { argv } = memoryInspection("it's; a model", 3, { before, env: {} });
    const result = spawnSync(argv[0], argv.slice(1), { encoding: 'utf8' });
    expect(result.stdout.split('\n')[0]).toBe('1:my vllm');
    expect(result.status).toBe(0);
  });
});
