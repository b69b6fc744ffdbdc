import type { z } from 'zod';
import type { Workload } from '../config/validate.ts';
import type { Field } from '../core/space/field.ts';
import type { Benchmark } from '../parallel/ports.ts';
import { aisBench, aisBenchConfig } from './ais-bench/ais-bench.ts';
import { builtinConfig, builtinWorkload, type BuiltinConfig } from './builtin/config.ts';
import { commandBenchmark, commandConfig } from './command/command.ts';
import { sglangBenchmark, sglangBenchmarkConfig } from './sglang-benchmark/sglang-benchmark.ts';
import { vllmBenchmark, vllmBenchmarkConfig } from './vllm-benchmark/vllm-benchmark.ts';

export interface BenchmarkKind {
  readonly name: string;
  readonly config: z.ZodType;
  /** Of a module of the user. */
  readonly path?: string;
  /** Parameters of the load that its table declares, beside the engine's. */
  fieldsOf?(config: unknown): readonly Field[];
  /** What its requests are like, where that is known beforehand. */
  workloadOf?(config: unknown): Workload | undefined;
  /** Loaded when it is needed: most commands never measure anything. */
  create(): Promise<Benchmark>;
}

const ownFields = (config: unknown): readonly Field[] =>
  (config as { readonly target_field: readonly Field[] }).target_field;

/** Every benchmark; a new one is a folder and a line here. Those of the user join when their module is loaded. */
export const benchmarks: BenchmarkKind[] = [
  {
    name: 'builtin',
    config: builtinConfig,
    workloadOf: (config) => builtinWorkload(config as BuiltinConfig),
    create: async () => new (await import('./builtin/builtin.ts')).BuiltinBenchmark(),
  },
  {
    name: 'vllm_benchmark',
    config: vllmBenchmarkConfig,
    fieldsOf: ownFields,
    create: async () => Promise.resolve(vllmBenchmark),
  },
  {
    name: 'ais_bench',
    config: aisBenchConfig,
    fieldsOf: ownFields,
    create: async () => Promise.resolve(aisBench),
  },
  {
    name: 'sglang_benchmark',
    config: sglangBenchmarkConfig,
    fieldsOf: ownFields,
    create: async () => Promise.resolve(sglangBenchmark),
  },
  {
    name: 'command',
    config: commandConfig,
    fieldsOf: ownFields,
    create: async () => Promise.resolve(commandBenchmark),
  },
];
