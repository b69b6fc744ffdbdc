import { need } from '../src/base/assert.ts';
import { createRng } from '../src/base/rng.ts';
import { compositionOf, partsOf, type Composition, type Parts } from '../src/core/fitness/composition.ts';
import { cost, fitness, type FitnessSettings, type PerformanceIndex } from '../src/core/fitness/fitness.ts';
import { arrivals } from '../src/core/load/arrivals.ts';
import { simulateLoad } from '../src/core/serving/cluster.ts';
import { cannotServe, planMemory } from '../src/core/serving/hardware.ts';
import { loadOf, settingsOf } from '../src/core/serving/params.ts';
import { presets, type Preset } from '../src/core/serving/presets.ts';
import type { Field, ServingParams } from '../src/core/space/field.ts';
import { createSearchSpace, paramsKey, type SearchSpace } from '../src/core/space/space.ts';

/** Studies on the project's own model of a serving engine. */

/** Without noise. */
export type Truth =
  | {
      readonly kind: 'scored';
      readonly fitness: number;
      readonly benchmarkS: number;
      /** Where the cost has parts. */
      readonly performance?: PerformanceIndex;
    }
  | { readonly kind: 'infeasible' };

export interface Scenario {
  readonly name: string;
  readonly space: SearchSpace;
  readonly startS: number;
  /** Of the groups in turn. */
  readonly speeds: readonly number[];
  /** Not looked at while the search was made. */
  readonly heldBack: boolean;
  /** The least cost, where it is known. */
  readonly best?: number;
  /** How the cost follows from its parts, where it has any. */
  readonly composition?: Composition;
  partsOf?(performance: PerformanceIndex): Parts;
  truth(params: ServingParams): Truth;
}

const field = (name: string, more: Partial<Field>): Field => ({
  ...{ name, config_position: 'env', min: 0, max: 1, dtype: 'float', value: 0.5 },
  ...{ dtype_param: null, constant: null },
  ...more,
});
const int = (name: string, min: number, max: number, value: number, more: Partial<Field> = {}): Field =>
  field(name, { dtype: 'int', min, max, value, ...more });
const oneOf = (name: string, values: readonly (number | string)[], value: number | string): Field =>
  field(name, { dtype: 'enum', dtype_param: values, value });

function servingFields({ deployment, defaults }: Preset): Field[] {
  const devices = deployment.nodes * deployment.acceleratorsPerNode;
  // Those that hold the model at all.
  const fewest = Math.ceil(
    (deployment.model.parameters * deployment.model.bytesPerParameter) / deployment.accelerator.memoryBytes,
  );
  const widths = [1, 2, 4, 8, 16].filter((width) => width >= fewest && width <= devices);
  return [
    int('MAX_NUM_SEQS', 8, 512, defaults.max_num_seqs),
    int('MAX_NUM_BATCHED_TOKENS', 256, 32_768, defaults.max_num_batched_tokens, { scale: 'log' }),
    field('GPU_MEMORY_UTILIZATION', { min: 0.7, max: 0.97, value: 0.9 }),
    oneOf('TENSOR_PARALLEL_SIZE', widths, defaults.tensor_parallel_size),
    field('ENABLE_CHUNKED_PREFILL', { dtype: 'bool', value: true }),
    oneOf('BLOCK_SIZE', [16, 32, 64, 128], 16),
    int('CONCURRENCY', 4, 256, 32),
  ];
}

interface Serving {
  readonly preset: Preset;
  readonly prompt: number;
  readonly output: number;
  /** Seconds. */
  readonly ttft: number;
  readonly tpot: number;
  readonly penalty: number;
}

const prompts = 160;

function measure({ preset, prompt, output }: Serving, params: ServingParams) {
  const settings = settingsOf(preset, params);
  const { deployment } = preset;
  const tooMany = settings.tensor_parallel_size * settings.data_parallel_size;
  if (tooMany > deployment.nodes * deployment.acceleratorsPerNode) return undefined;
  if (cannotServe(planMemory(deployment, settings))) return undefined;
  const rng = createRng(1);
  // Lengths differ as they do in the world, and are the same for every configuration.
  const spread = (mean: number): number => Math.max(1, Math.round(mean * (0.5 + rng.next())));
  const outcome = simulateLoad(deployment, settings, {
    requests: Array.from({ length: prompts }, () => ({
      promptTokens: spread(prompt),
      outputTokens: spread(output),
    })),
    maxConcurrency: Math.max(1, Math.round(loadOf(params).concurrency ?? 32)),
    dueMs: arrivals(prompts, Infinity, rng),
  });
  const { requests, durationMs } = outcome;
  const mean = (of: (request: (typeof requests)[number]) => number): number =>
    requests.reduce((sum, request) => sum + of(request), 0) / requests.length / 1000;
  const seconds = durationMs / 1000;
  return {
    seconds,
    performance: {
      generate_speed: requests.reduce((sum, { outputTokens }) => sum + outputTokens, 0) / seconds,
      time_to_first_token: mean(({ ttftMs }) => ttftMs),
      time_per_output_token: mean((one) => (one.e2elMs - one.ttftMs) / Math.max(1, one.outputTokens - 1)),
      success_rate: 1,
      throughput: requests.length / seconds,
    },
  };
}

function serving(
  name: string,
  load: Serving,
  more: Partial<Pick<Scenario, 'speeds' | 'heldBack'>> = {},
): Scenario {
  const space = createSearchSpace(servingFields(load.preset));
  const baseline = measure(load, space.current);
  const slos: FitnessSettings = {
    ...{ ttft_penalty: load.penalty, tpot_penalty: load.penalty, success_rate_penalty: 5 },
    ...{ ttft_slo: load.ttft, tpot_slo: load.tpot, success_rate_slo: 1 },
    // As the original does it: ten times what the present configuration reaches.
    generate_speed_target: 10 * (baseline?.performance.generate_speed ?? 500),
  };
  const known = new Map<string, Truth>();
  return {
    name,
    space,
    startS: 60 + load.preset.startUpMs / 1000,
    speeds: [1],
    heldBack: false,
    ...more,
    composition: need(compositionOf(slos), 'composition'),
    partsOf: (performance) => partsOf(performance, cost(performance, slos).terms, slos),
    truth(params) {
      const key = paramsKey(params);
      const seen = known.get(key);
      if (seen !== undefined) return seen;
      const measured = measure(load, params);
      const truth: Truth =
        measured === undefined
          ? { kind: 'infeasible' }
          : {
              kind: 'scored',
              fitness: fitness(measured.performance, slos).fitness,
              benchmarkS: measured.seconds,
              performance: measured.performance,
            };
      known.set(key, truth);
      return truth;
    },
  };
}

const shorter = (preset: Preset): Preset => ({
  ...preset,
  defaults: { ...preset.defaults, max_model_len: 8192 },
});
const small = shorter(presets['small-8']);
const wide = shorter(presets['small-16']);
const large = shorter(presets['large-16']);
const tight = presets['large-8'];

/** Twelve of a kind, made at random: more to try a search on than was chosen by hand. */
export function randomScenarios(kind: 'at random' | 'long prompts'): Scenario[] {
  const rng = createRng(kind === 'at random' ? 4711 : 4712);
  const pick = <T>(all: readonly T[]): T => need(all[Math.floor(rng.next() * all.length)], 'one of them');
  const between = (low: number, high: number): number => low * (high / low) ** rng.next();
  return Array.from({ length: 12 }, (_, i) => {
    const isLong = kind === 'long prompts';
    const name = pick(['small-8', 'small-16', 'large-16', 'large-8'] as const);
    const prompt = Math.round(isLong ? between(2000, 6000) : between(128, 4000));
    const output = Math.round(isLong ? between(64, 256) : between(96, 1024));
    const ttft = isLong ? between(1.2, 6) : between(0.4, 4) * (prompt > 1500 ? 2 : 1);
    const tpot = name.startsWith('large') ? between(0.03, 0.08) : between(0.014, 0.05);
    const preset = shorter(presets[name]);
    return serving(`${kind} ${i}`, { preset, prompt, output, ttft, tpot, penalty: pick([2, 3, 4, 5]) });
  });
}

export const tuningScenarios = (): Scenario[] => [
  serving('small, chat', { preset: small, prompt: 512, output: 256, ttft: 1, tpot: 0.03, penalty: 3 }),
  serving('small, summarise', { preset: small, prompt: 3000, output: 128, ttft: 2, tpot: 0.05, penalty: 3 }),
  serving('large, chat, tight', {
    preset: large,
    prompt: 512,
    output: 192,
    ttft: 0.8,
    tpot: 0.04,
    penalty: 5,
  }),
  serving('large, long output', { preset: large, prompt: 256, output: 768, ttft: 3, tpot: 0.08, penalty: 3 }),
  serving('large, little memory', {
    preset: tight,
    prompt: 512,
    output: 256,
    ttft: 2,
    tpot: 0.06,
    penalty: 3,
  }),
  serving(
    'small, unequal groups',
    { preset: wide, prompt: 1024, output: 256, ttft: 1, tpot: 0.03, penalty: 3 },
    { speeds: [1, 0.8, 1.2, 0.6] },
  ),
  serving(
    'small, long output',
    { preset: small, prompt: 128, output: 1024, ttft: 1, tpot: 0.02, penalty: 4 },
    { heldBack: true },
  ),
  serving(
    'large, summarise',
    { preset: large, prompt: 4000, output: 128, ttft: 4, tpot: 0.08, penalty: 2 },
    { heldBack: true },
  ),
  serving(
    'small, two machines, tight',
    { preset: wide, prompt: 768, output: 256, ttft: 0.4, tpot: 0.015, penalty: 5 },
    { heldBack: true },
  ),
];
