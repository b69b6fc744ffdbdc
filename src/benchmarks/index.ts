import type { z } from 'zod';
import type { Workload } from '../config/validate.ts';
import type { Field } from '../core/space/field.ts';
import type { Benchmark } from '../parallel/ports.ts';
import { builtinConfig, builtinWorkload, type BuiltinConfig } from './builtin/config.ts';

export interface BenchmarkKind {
  readonly name: string;
  readonly config: z.ZodType;
  /** Parameters of the load that its table declares, beside the engine's. */
  fieldsOf?(config: unknown): readonly Field[];
  /** What its requests are like, where that is known beforehand. */
  workloadOf?(config: unknown): Workload | undefined;
  /** Loaded when it is needed: most commands never measure anything. */
  create(): Promise<Benchmark>;
}

/** Every benchmark; a new one is a folder and a line here. */
export const benchmarks: readonly BenchmarkKind[] = [
  {
    name: 'builtin',
    config: builtinConfig,
    workloadOf: (config) => builtinWorkload(config as BuiltinConfig),
    create: async () => new (await import('./builtin/builtin.ts')).BuiltinBenchmark(),
  },
];
