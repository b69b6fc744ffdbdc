import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { quantileSorted } from 'simple-statistics';
import { never } from '../src/base/cancellation.ts';
import { EventBus } from '../src/base/events.ts';
import { registry, runStudy, type StudyOutcome } from '../src/compose.ts';
import { resolveSettings, type Settings, type SettingsInput } from '../src/config/settings.ts';
import type { Table } from '../src/config/toml.ts';
import type { fitness } from '../src/core/fitness/fitness.ts';
import { violations } from '../src/core/fitness/slo.ts';
import { cannotServe, planMemory } from '../src/core/serving/hardware.ts';
import { settingsOf } from '../src/core/serving/params.ts';
import { presets, type PresetName } from '../src/core/serving/presets.ts';
import type { ServingParams } from '../src/core/space/field.ts';
import type { BenchmarkResult } from '../src/parallel/ports.ts';
import type { TrialRecord } from '../src/parallel/records.ts';
import type { Summary } from '../src/report/summary.ts';
import { readJournal } from '../src/runs/journal-content.ts';
import { createSimulation } from '../src/simulation/index.ts';

/** Whole studies on the model of an engine, and the truth behind them. */

export interface Serving {
  readonly preset: PresetName;
  readonly ttft_slo: number;
  readonly tpot_slo: number;
  readonly input: number;
  readonly output: number;
}

export const servings: Readonly<Record<string, Serving>> = {
  chat: { preset: 'small-8', ttft_slo: 0.6, tpot_slo: 0.03, input: 512, output: 96 },
  demo: { preset: 'demo', ttft_slo: 1, tpot_slo: 0.04, input: 192, output: 40 },
};

/** Groups of two hosts that nobody connects to. */
export const pairs = (groups: number): NonNullable<SettingsInput['hosts']> => ({
  groups: Array.from({ length: groups }, (_, groupId) => ({
    groupId,
    hosts: [{ host: `a${groupId}` }, { host: `b${groupId}` }],
  })),
  warnings: [],
});

export const noise = 0.03;

const tableOf = ({ preset, ttft_slo, tpot_slo, input, output }: Serving): Table => ({
  ...{ engine: 'emulator', emulator: { preset }, generate_speed_target: 2500, tpot_penalty: 2 },
  ...{ ttft_slo, tpot_slo, success_rate_slo: 1 },
  builtin: { num_prompts: 300, input_len: input, output_len: output },
  parallel: {
    service_groups: [0, 1, 2, 3].map((group_id) => ({ group_id, nodes: [{ host: `host-${group_id}` }] })),
  },
});

export interface Study {
  readonly summary: Summary;
  readonly told: readonly TrialRecord[];
}

/** A directory for results, gone with the block. */
export function temporary(): { readonly path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'optimizer-bench-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** As `optimizer --simulate` does it. */
export async function simulate(
  serving: Serving,
  seed: number,
  more: Table,
  output: string,
): Promise<StudyOutcome> {
  const values = { ...tableOf(serving), simulate: { noise }, output, ...more };
  const input: SettingsInput = {
    document: { values, origin: {}, files: [] },
    flags: { simulate: true, seed },
  };
  const settings = resolveSettings(input, registry);
  const outcome = await runStudy({ settings, input, events: new EventBus() }, never);
  if (outcome.error !== undefined) throw outcome.error as Error;
  return outcome;
}

export async function study(serving: Serving, seed: number, more: Table): Promise<Study> {
  using output = temporary();
  const { summary, paths } = await simulate(serving, seed, more, output.path);
  const { entries } = await readJournal(paths.journal);
  return { summary, told: entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : [])) };
}

export type IsHopeless = (bounds: Parameters<typeof fitness>[0]) => boolean;

/** One measurement of a configuration; undefined where it cannot start. */
export async function measure(
  serving: Serving,
  params: ServingParams,
  about: { readonly noise: number; readonly seed: number; readonly isHopeless?: IsHopeless },
): Promise<BenchmarkResult | undefined> {
  const preset = presets[serving.preset];
  if (cannotServe(planMemory(preset.deployment, settingsOf(preset, params)))) return undefined;
  const exact = { preset: serving.preset, nodeFailures: 0, outageSeconds: 0, groupSpeeds: [1] };
  const { clock, benchmark } = createSimulation({ ...exact, noise: about.noise }, 0);
  const settings = settingsFor(serving);
  const context = { clock, signal: never, trialId: 0, groupId: 0, attempt: 0, ...about } as never;
  const target = { baseUrl: '', model: undefined };
  return clock.run(benchmark.run(settings.benchmarkConfig, target, params, context));
}

const resolved = new Map<Serving, Settings>();

export function settingsFor(serving: Serving): Settings {
  const known = resolved.get(serving);
  if (known !== undefined) return known;
  const document = { values: tableOf(serving), origin: {}, files: [] };
  const settings = resolveSettings({ document, flags: { simulate: true } }, registry);
  resolved.set(serving, settings);
  return settings;
}

/** Tokens/s within the SLOs without noise; 0 outside, or where it cannot start. */
export async function truth(serving: Serving, params: ServingParams): Promise<number> {
  const result = await measure(serving, params, { noise: 0, seed: 0 });
  if (result === undefined) return 0;
  const { fitness: slos } = settingsFor(serving);
  // At the edge of an SLO half of all measurements are outside: noise is no fault of the configuration.
  const edge = { ...slos, ttft_slo: slos.ttft_slo * (1 + noise), tpot_slo: slos.tpot_slo * (1 + noise) };
  return violations(result.performance, edge).length === 0 ? (result.performance.generate_speed ?? 0) : 0;
}

export const median = (values: readonly number[]): number =>
  quantileSorted(
    [...values].sort((a, b) => a - b),
    0.5,
  );
