import type { Engine } from '../../parallel/ports.ts';
import { commonPatterns, operator, params, wrapper } from '../log-patterns.ts';
import { portNumber, servingPlace } from '../place.ts';
import { layoutOf } from '../layout.ts';
import { memoryInspection, mostOf, narrowedByMemory, refusedByMemory } from '../memory-prior.ts';
import { vllmConfig, type VllmConfig } from './config.ts';
import { usualLayout, vllmPlan } from './plan.ts';
import { vllmReadBack } from './read-back.ts';
import { distributedOf, vllmConstraints, vllmFields, vllmNumerics, vllmPresets } from './space.ts';

const roomForCache =
  'Raise gpu_memory_utilization or tensor parallelism, or lower the model length or the batched tokens.';

const ownUtilization = ({ command }: VllmConfig): number =>
  Number(/--gpu-memory-utilization[= ]([\d.]+)/.exec(command.others)?.[1] ?? 0.9);

/** vLLM and vLLM-Ascend by `vllm serve`, on one node or on several. */
export const vllmEngine: Engine<VllmConfig> = {
  name: 'vllm',
  config: vllmConfig,
  fieldsOf: vllmFields,
  presets: vllmPresets,
  constraints: () => vllmConstraints,
  changesNumerics: vllmNumerics,
  plan: vllmPlan,

  needs: ({ executable, command: { model } }) => ({ executable, model }),

  /** The model and the memory of a device; whether it can span nodes by itself, where it has to. */
  inspection(config, node, group) {
    const env = { ...group.env, ...node.env };
    const [device = 0] = node.npu_ids;
    const spans = distributedOf(config, { nodes: group.nodes.length }) === 'mp' && group.nodes.length > 1;
    if (!spans) return memoryInspection(config.command.model, device, { env });
    const script = `help=$("$@" serve --help=all 2>/dev/null) || help=
case $help in *--nnodes*) echo nnodes=yes ;; ?*) echo nnodes=no ;; *) echo nnodes=unknown ;; esac`;
    const before = {
      argv: ['sh', '-c', script, 'sh', ...config.executable] as const,
      label: 'vllm serve --help=all',
      env,
    };
    return memoryInspection(config.command.model, device, { before, env });
  },

  refused(config, params, topology, guidance) {
    const distributed = distributedOf(config, { nodes: topology.nodes.length });
    const layout = layoutOf(params, usualLayout({ config, topology, distributed }));
    const utilization = Number(params['GPU_MEMORY_UTILIZATION'] ?? ownUtilization(config));
    // Experts that are spread over all devices are counted by nobody here.
    return layout.ep ? undefined : refusedByMemory(topology, layout, utilization, guidance);
  },

  refine(config, fields, topology, guidance) {
    const { others } = config.command;
    const utilization = mostOf(fields, 'GPU_MEMORY_UTILIZATION') ?? ownUtilization(config);
    return narrowedByMemory(fields, 'MAX_NUM_SEQS', topology, { utilization, others }, guidance);
  },

  readBack(config, _params, topology) {
    const usual = { port: portNumber(config.command.port, 8000), path: '/health' };
    return vllmReadBack(servingPlace(topology, usual).origin);
  },

  logPatterns: [
    params('No available memory for the cache blocks', roomForCache),
    {
      ...params('To serve at least one request with the model', roomForCache),
      sentence: {
        match: /max seq len \((\d+)\)[^(]*\(([\d.]+ GiB) KV cache is needed.*?memory \((-?[\d.]+ GiB)\)/,
        words: 'KV cache $3 < $2 needed for one request of $1 tokens',
      },
    },
    params(
      'must be greater than or equal to max_num_seqs',
      'Raise max_num_batched_tokens or lower max_num_seqs.',
    ),
    params('is smaller than max_model_len', 'Raise max_num_batched_tokens, or switch chunked prefill on.'),
    params('Insufficient_Stream_Resources(EL0009)', 'Capture fewer graph sizes.'),
    {
      ...params(
        'is less than desired GPU memory utilization',
        'Free the devices, or lower gpu_memory_utilization.',
      ),
      ambiguous: true,
    },
    operator(
      'nnodes > 1 can only be set when distributed executor',
      'Set [vllm] distributed to what this version can do.',
    ),
    operator("can't be set in headless mode", 'Leave API_SERVER_COUNT to the head.'),
    operator('error: unrecognized arguments:', 'This version does not know an argument: see the line.'),
    operator(
      'error: argument ',
      'An argument has a value that this version of vLLM does not take: see the line.',
    ),
    wrapper('Engine core initialization failed. See root cause above.'),
    wrapper('EngineDeadError'),
    wrapper('EngineCore encountered an issue'),
    wrapper('died unexpectedly, shutting down executor'),
    ...commonPatterns,
  ],
};
