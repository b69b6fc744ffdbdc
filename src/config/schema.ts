import { z } from 'zod';
import type { StatedSlo } from '../core/fitness/slo.ts';
import { presetNames } from '../core/serving/presets.ts';
import { healthCheckSchema, parallelSchema, runtimeSchema } from './schema-tables.ts';
import { boolean, duration, integer, list, number, oneOf, seconds, table, text } from './schema-types.ts';
import { parseSlo, sloExamples } from './slo-text.ts';

/** An SLO as people state it. */
const sloSchema = text().transform((value, context): StatedSlo => {
  try {
    return parseSlo(value);
  } catch (error) {
    context.addIssue({
      code: 'custom',
      message: `${(error as Error).message}: write it like ${sloExamples}`,
    });
    return z.NEVER;
  }
});

const strategies = ['exp_decay', 'nonlin_mod', 'lin_variation', 'random'] as const;
const ioTable = z.record(z.string(), z.unknown(), { error: 'a table' }).optional();

/** Every top-level key that is not a table of an engine or a benchmark. */
export const topLevelShape = {
  engine: text().optional().meta({
    description:
      '[`script`](engines/script.md), [`vllm`](engines/vllm.md), [`sglang`](engines/sglang.md), [`mindie`](engines/mindie.md), [`llamacpp`](engines/llamacpp.md), `emulator`, or the path of [a module](own-engine.md)',
    usual: 'the only engine that has a table',
  }),
  benchmark: text().optional().meta({
    description:
      '[`builtin`](benchmarks/builtin.md), [`vllm_benchmark`](benchmarks/vllm-benchmark.md), [`ais_bench`](benchmarks/ais-bench.md), [`sglang_benchmark`](benchmarks/sglang-benchmark.md), [`command`](benchmarks/command.md), or the path of [a module](own-benchmark.md)',
    usual: '`builtin`',
  }),
  output: text().default('result').describe('result directory'),
  simulator_output: text().optional(),
  n_particles: integer({ above: 0, below: 1000 })
    .default(10)
    .describe('particles of the swarm; times `iters`, how many configurations are measured'),
  iters: integer({ above: 0, below: 1000 })
    .default(5)
    .describe('generations, or as many evaluations without generations'),
  particles_time_out: seconds()
    .default(3600)
    .describe('seconds of one benchmark, where `parallel.evaluation_timeout` is not set'),
  ftol: number().default(-Infinity).describe('stop rule of `synchronous`: the least gain of the best cost'),
  ftol_iter: integer({ atLeast: 1 }).default(1).describe('generations over which `ftol` is judged'),
  confirm_runs: integer({ atLeast: 0 })
    .default(3)
    .describe(
      'how often the baseline and the finalists are measured again; [what follows from it](search.md#the-answer)',
    ),
  reuse_service: boolean()
    .default(true)
    .describe('a service is kept until another one is needed on its group'),
  abort_hopeless: boolean()
    .default(true)
    .describe('benchmarks that cannot become the best any more [are ended](search.md#what-is-hopeless)'),
  max_evaluations: integer({ above: 0 })
    .optional()
    .meta({ description: 'configurations that are measured at most', usual: '`n_particles` × `iters`' }),
  budget: duration()
    .optional()
    .describe('wall clock of the run; nothing is begun that cannot end in it, its tail confirms the answer'),
  patience: z
    .union([boolean(), integer({ atLeast: 0 })], { error: 'true, false or a number of evaluations' })
    .default(false)
    .describe('evaluations without a gain of 1 % after which the search ends; true: max(20, 3 × groups)'),
  expected_start: seconds()
    .optional()
    .describe('seconds of a start: with both, a run and `--dry-run` say beforehand what fits'),
  expected_benchmark: seconds().optional().describe('seconds of a benchmark'),
  load_search: oneOf('slo', 'two_stage', 'fixed').optional().meta({
    description:
      'how the load of a configuration is chosen: [`slo`](search.md#the-load), `two_stage` (the rule of the original, [there](from-the-original.md#two-stages)), `fixed`: as given, a load field that may vary is a coordinate like others',
    usual: '`slo`',
  }),
  load_probes: integer({ above: 0, atMost: 50 })
    .default(5)
    .describe('benchmarks a configuration at most, under `slo`'),
  two_stage: boolean().default(false).describe('the same as `load_search = "two_stage"`'),
  multiplier: number({ above: 0 })
    .default(1.05)
    .describe('rate of the second stage, by what the first got through, under `two_stage`'),
  synchronous: boolean()
    .default(false)
    .describe('generation by generation, in the bounds of the fields themselves'),
  surrogate: boolean()
    .default(true)
    .describe('a model of all results [picks among the moves](search.md) of the swarm'),
  algorithm: oneOf('pso', 'random').default('pso').describe('how configurations are proposed'),
  seed: integer().optional().meta({ description: 'of the search and of the load', usual: '0' }),
  pso_options: table({ c1: number().optional(), c2: number().optional(), w: number().optional() })
    .optional()
    .meta({ description: '`w`, `c1`, `c2` of the swarm', usual: 'constriction' }),
  pso_strategy: table({
    w: oneOf(...strategies).optional(),
    c1: oneOf(...strategies).optional(),
    c2: oneOf(...strategies).optional(),
  })
    .optional()
    .describe(
      '`w`, `c1`, `c2` over the run: `exp_decay`, `nonlin_mod`, `lin_variation`; unset ones stay constant',
    ),
  ttft_penalty: number({ atLeast: 0 })
    .default(1)
    .describe('exponent of the cost where TTFT misses its SLO; 0 switches the SLO off'),
  tpot_penalty: number({ atLeast: 0 }).default(0).describe('the same of TPOT'),
  success_rate_penalty: number({ atLeast: 0 }).default(5).describe('the same of the success rate'),
  ttft_slo: number({ above: 0 }).default(1).describe('seconds'),
  tpot_slo: number({ above: 0 }).default(0.05).describe('seconds'),
  success_rate_slo: number({ above: 0 }).default(1).describe('share'),
  slo: list(sloSchema, `texts like ${sloExamples}`)
    .default([])
    .describe('[SLOs in words](#slos-in-words); they replace those of the keys about the same metric'),
  objective: oneOf('throughput', 'goodput', 'fitness')
    .default('throughput')
    .describe(
      'what is best within the SLOs: output tokens a second, `goodput` (requests a second that keep their own limits, of a benchmark that counts them), or `fitness` (the cost)',
    ),
  slo_coefficient: number({ atLeast: 0 })
    .default(0.1)
    .describe('share below an SLO in which fine-tuning changes nothing, under `two_stage`'),
  generate_speed_target: number({ above: 0 })
    .default(5000)
    .describe('tokens/s in the cost; with MindIE ten times the baseline'),
  sample_size: integer({ above: 0 })
    .default(1000)
    .describe('prompts at most while the swarm searches; the baseline and confirmations use all'),
  mem_coefficient: number({ above: 0 })
    .default(0.8)
    .describe('share of the free device memory that bounds of MindIE count on'),
  max_fine_tune: integer({ atLeast: 0 }).default(10).describe('steps of fine-tuning, under `two_stage`'),
  scaling_coefficient: number({ above: 0 })
    .default(1.3)
    .describe('factor on the upper bound that memory says'),
  step_size: number({ above: 0 })
    .default(0.6)
    .describe('the most by which a value changes in one step of it, relative'),
  theory_guided_enable: boolean()
    .default(true)
    .describe(
      'what device memory says: bounds of how many requests run at once, and configurations that cannot fit [are refused](search.md#what-cannot-fit) without a start with vLLM and SGLang',
    ),
  service: text().default('master'),
  data_storage: table({
    store_dir: text()
      .optional()
      .meta({ description: 'directory of the CSV table', usual: '`<output>/store`' }),
    pso_top_k: integer({ atLeast: 0 }).default(3).describe('how many finalists there are'),
  })
    .default({ pso_top_k: 3 })
    .describe('`store_dir`: directory of the CSV table; `pso_top_k`: how many finalists there are'),
  presets: boolean().default(true).describe('try the presets of the engine after the present configuration'),
  health_check: healthCheckSchema
    .prefault({})
    .describe('log lines of your service, see [script](engines/script.md)'),
  wait_start_time: seconds()
    .optional()
    .describe('seconds of a start, where `health_check_timeout` is not set'),
  constraint: list(table({ expr: text(), reason: text().optional() }), 'tables with expr')
    .default([])
    .describe('[rules](#constraints): `expr`, and a `reason` to show'),
  runtime: runtimeSchema.prefault({}).describe('[on the host or in containers](#runtime)'),
  parallel: parallelSchema
    .default(() => parallelSchema.parse({}))
    .describe('[groups of machines](#parallel), and how they are treated'),
  simulate: table({
    preset: z
      .enum(presetNames, { error: `one of ${presetNames.join(', ')}` })
      .optional()
      .meta({ description: 'which of the models of an engine', usual: 'by the engine' }),
    noise: number({ atLeast: 0, atMost: 1 })
      .default(0)
      .describe('sigma of a log-normal factor on what is measured'),
    node_failures: number({ atLeast: 0, below: 1 })
      .default(0)
      .describe('share of the evaluations in which a machine goes down'),
    outage: seconds().default(120).describe('seconds until it is back'),
    group_speeds: list(number({ above: 0 }), 'speeds, one a group; 1 is usual')
      .default([1])
      .describe('a group; 1 is usual'),
  }).prefault({}),
  communication: ioTable,
  latency_model: ioTable,
  train: ioTable,
} as const;

export const topLevelSchema = table(topLevelShape);
export type TopLevel = z.infer<typeof topLevelSchema>;

/** Accepted from configuration files of the original; nothing here reads them. */
export const ignoredKeys = [
  'train',
  'latency_model',
  'communication',
  'simulator_output',
  'service',
] as const;
