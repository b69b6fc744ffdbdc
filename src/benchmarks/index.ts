import type { z } from 'zod';
import type { Benchmark } from '../parallel/ports.ts';
import { builtinConfig } from './builtin/config.ts';

export interface BenchmarkKind {
  readonly name: string;
  readonly config: z.ZodType;
  /** Loaded when it is needed: most commands never measure anything. */
  create(): Promise<Benchmark>;
}

/** Every benchmark; a new one is a folder and a line here. */
export const benchmarks: readonly BenchmarkKind[] = [
  {
    name: 'builtin',
    config: builtinConfig,
    create: async () => new (await import('./builtin/builtin.ts')).BuiltinBenchmark(),
  },
];
