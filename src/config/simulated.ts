import { presetNames, type PresetName } from '../core/serving/presets.ts';
import type { ParallelConfig } from './parallel-config.ts';
import type { TopLevel } from './schema.ts';

export interface Simulated {
  readonly preset: PresetName;
  /** Sigma of log-normal factors on starts and on what is measured. */
  readonly noise: number;
  /** Probability that a start ends with its machine going down, and how long that lasts. */
  readonly nodeFailures: number;
  readonly outageSeconds: number;
  /** Speeds of the groups in turn. */
  readonly groupSpeeds: readonly number[];
}

/** The model that stands for the engine: the one asked for, the emulator's own, or one that fits the groups. */
export function simulatedOf(
  top: TopLevel,
  engineConfig: unknown,
  { service_groups: groups }: ParallelConfig,
): Simulated {
  const { preset, noise, node_failures, outage, group_speeds } = top.simulate;
  const own = presetNames.find((name) => name === (engineConfig as { preset?: unknown }).preset);
  const fitting = (groups[0]?.nodes.length ?? 1) > 1 ? 'large-16' : 'small-8';
  return {
    preset: preset ?? own ?? fitting,
    noise,
    nodeFailures: node_failures,
    outageSeconds: outage,
    groupSpeeds: group_speeds,
  };
}
