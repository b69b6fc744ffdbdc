import { z } from 'zod';
import { fromSeconds } from '../../base/units.ts';
import { fieldsSchema } from '../../config/schema-tables.ts';
import { list, table, text } from '../../config/schema-types.ts';
import { healthUrl } from '../../config/url-template.ts';
import { presetNames, presets, type PresetName } from '../../core/serving/presets.ts';
import type { Field } from '../../core/space/field.ts';
import { valueText } from '../../core/space/format.ts';
import { withoutLoad } from '../../core/tuning/load-fields.ts';
import { emulatorCommand } from '../../emulator/command.ts';
import type { Engine, LaunchPlan, PlannedProcess, TopologyNode } from '../../parallel/ports.ts';
import { field } from '../fields.ts';
import { vllmEngine } from '../vllm/vllm.ts';

const emulatorConfig = table({
  preset: z
    .enum(presetNames, { error: `one of ${presetNames.join(', ')}` })
    .default('demo')
    .describe('which of the models of an engine'),
  command: list(text(), 'the words of a command')
    .optional()
    .describe('where nodes have the emulator elsewhere than this machine'),
  target_field: fieldsSchema().default([]).describe('[fields](configuration.md#fields) of your own'),
});
type EmulatorConfig = z.infer<typeof emulatorConfig>;

/** What is worth tuning; the values are vLLM's defaults on all accelerators of the preset. */
function usualFields(preset: PresetName): Field[] {
  const { defaults } = presets[preset];
  const { nodes, acceleratorsPerNode } = presets[preset].deployment;
  const widths = [8, 16].filter((width) => width <= nodes * acceleratorsPerNode);
  return [
    field.int('MAX_NUM_SEQS', 16, 256, defaults.max_num_seqs),
    field.int('MAX_NUM_BATCHED_TOKENS', 256, 8192, defaults.max_num_batched_tokens),
    field.float('GPU_MEMORY_UTILIZATION', 0.86, 0.96, defaults.gpu_memory_utilization),
    ...(widths.length > 1
      ? [field.oneOf('TENSOR_PARALLEL_SIZE', widths, defaults.tensor_parallel_size)]
      : []),
    field.int('CONCURRENCY', 8, 128, 32),
  ];
}

const fieldsOf = ({ preset, target_field: fields }: EmulatorConfig): readonly Field[] =>
  fields.length > 0 ? fields : usualFields(preset);

/** An engine that needs no accelerator: a model of one, behind the interface of `vllm serve`. */
export const emulatorEngine: Engine<EmulatorConfig> = {
  name: 'emulator',
  config: emulatorConfig,
  logPatterns: vllmEngine.logPatterns,
  fieldsOf,

  plan(config, params, topology): LaunchPlan {
    const { settings, nodes } = topology;
    const fields = fieldsOf(config);
    const url = healthUrl(settings, nodes[0]?.address ?? '');
    const { port, origin } = new URL(url);
    const started = withoutLoad(params);
    const set = fields.flatMap((one) => {
      const value = started[one.name];
      return value === undefined ? [] : ['--set', `${one.name}=${valueText(value, one)}`];
    });
    const process = (node: TopologyNode, role: string, ...more: string[]): PlannedProcess => ({
      rank: node.rank,
      role,
      command: {
        argv: [
          ...((config.command ?? emulatorCommand()) as [string, ...string[]]),
          '--preset',
          config.preset,
          ...set,
          ...more,
        ],
        cwd: node.workDir,
        env: { ...settings.env, OPTIMIZER_TRIAL_ID: String(topology.trialId), NODE_RANK: String(node.rank) },
      },
    });
    const timeout = fromSeconds(settings.health_check_timeout);
    const until = { kind: 'started' } as const;
    const workers = nodes.slice(1).map((node) => process(node, 'worker', '--headless'));
    const head = nodes
      .slice(0, 1)
      .map((node) => process(node, 'master', '--host', node.address, '--port', port === '' ? '80' : port));
    return {
      files: [],
      stages: [
        ...(workers.length === 0 ? [] : [{ processes: workers, until, timeout }]),
        { processes: head, until, timeout },
      ],
      probe: { url, expectStatus: 200 },
      stop: [],
      detached: false,
      silenceTimeout: fromSeconds(settings.start_silence_timeout),
      target: { baseUrl: origin, model: undefined },
    };
  },
};
