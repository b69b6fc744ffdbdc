import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { registry, runStudy } from '../src/compose.ts';
import { never } from '../src/base/cancellation.ts';
import { EventBus } from '../src/base/events.ts';
import { createRng } from '../src/base/rng.ts';
import { simulatedStudy } from '../src/cli/demo-study.ts';
import { resolveSettings, type Settings, type SettingsInput } from '../src/config/settings.ts';
import { fitness } from '../src/core/fitness/fitness.ts';
import { violations } from '../src/core/fitness/slo.ts';
import { latinHypercube } from '../src/core/pso/draws.ts';
import { cannotServe, planMemory } from '../src/core/serving/hardware.ts';
import { settingsOf } from '../src/core/serving/params.ts';
import { presets } from '../src/core/serving/presets.ts';
import { createSearchSpace } from '../src/core/space/space.ts';
import { ownFields } from '../src/refine.ts';
import type { ServingParams } from '../src/core/space/field.ts';
import { createSimulation } from '../src/simulation/index.ts';

/**
 * How good the answers of `--simulate` are: for ten seeds, the recommended configuration against the best of 2,000
 * points spread over the same space, both by the model without noise.
 */

const points = 2000;

export interface SimulatedAnswer {
  readonly seed: number;
  readonly evaluations: number;
  readonly feasible: boolean;
  readonly best_tok_s: number;
  readonly of_baseline: number;
  readonly of_grid: number;
  readonly real_s: number;
}

function inputOf(seed: number, output: string): SettingsInput {
  return {
    document: { values: { ...simulatedStudy, output }, origin: {}, files: [] },
    flags: { simulate: true, seed },
  };
}

/** Tokens/s of a configuration within the SLOs by the model alone; 0 outside, or where it cannot start. */
async function truth(settings: Settings, params: ServingParams): Promise<number> {
  const preset = presets.demo;
  if (cannotServe(planMemory(preset.deployment, settingsOf(preset, params)))) return 0;
  const exact = { preset: 'demo', noise: 0, nodeFailures: 0, outageSeconds: 0, groupSpeeds: [1] } as const;
  const { clock, benchmark } = createSimulation(exact, 0);
  const context = { clock, signal: never, seed: 0, trialId: 0, groupId: 0, attempt: 0 } as never;
  const target = { baseUrl: '', model: undefined };
  const { performance } = await clock.run(benchmark.run(settings.benchmarkConfig, target, params, context));
  fitness(performance, settings.fitness);
  return violations(performance, settings.fitness).length === 0 ? (performance.generate_speed ?? 0) : 0;
}

export async function simulate(short: boolean): Promise<SimulatedAnswer[]> {
  const output = mkdtempSync(join(tmpdir(), 'optimizer-simulate-'));
  const settings = resolveSettings(inputOf(0, output), registry);
  // Loads and all.
  const space = createSearchSpace(ownFields(settings), settings.rules);
  let grid = 0;
  for (const position of latinHypercube(points, space.dimensions, createRng(1).fork('grid')))
    grid = Math.max(grid, await truth(settings, space.decode(position)));
  const baseline = await truth(settings, space.current);
  const answers: SimulatedAnswer[] = [];
  for (let seed = 1; seed <= (short ? 3 : 10); seed++) {
    const input = inputOf(seed, output);
    const began = performance.now();
    const { summary } = await runStudy(
      { settings: resolveSettings(input, registry), input, events: new EventBus() },
      never,
    );
    const best = summary.best === null ? 0 : await truth(settings, summary.best.params);
    answers.push({
      seed,
      evaluations: settings.search.maxEvaluations,
      feasible: summary.best !== null && best > 0,
      best_tok_s: best,
      of_baseline: best / baseline,
      of_grid: best / grid,
      real_s: (performance.now() - began) / 1000,
    });
  }
  rmSync(output, { recursive: true, force: true });
  return answers;
}
