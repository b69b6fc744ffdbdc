import type { z } from 'zod';
import { ConfigurationError } from '../../base/errors.ts';
import { fromSeconds } from '../../base/units.ts';
import { integer, table } from '../../config/schema-types.ts';
import type { Field, ServingParams } from '../../core/space/field.ts';
import type { EffectiveValue, Engine, GroupTopology, TopologyNode } from '../../parallel/ports.ts';
import {
  fill,
  flagsOfFields,
  givenModel,
  leftOpen,
  mentions,
  ownWords,
  type FlagRules,
} from '../arguments.ts';
import { field, textsOf, tunedVariables } from '../fields.ts';
import {
  commonPatterns,
  node as nodeFault,
  operator,
  params as paramsFault,
  wrapper,
} from '../log-patterns.ts';
import { commandKeys, executableKey, fieldKeys } from '../common-keys.ts';
import { portNumber, servingPlace } from '../place.ts';
import { deviceVariables } from '../shape.ts';

const llamacppConfig = table({
  ...executableKey('llama-server'),
  ...fieldKeys,
  command: table({
    ...commandKeys,
    context_per_slot: integer({ atLeast: 64 })
      .default(4096)
      .describe('tokens of context for each slot: the whole is that times the slots'),
  }).prefault({}),
});
type LlamacppConfig = z.infer<typeof llamacppConfig>;

const usualPlace = { port: 8080, path: '/health' };

const flagRules: FlagRules = {
  flags: new Set([
    '--batch-size',
    '--cache-reuse',
    '--cache-type-k',
    '--cache-type-v',
    '--flash-attn',
    '--n-cpu-moe',
    '--n-gpu-layers',
    '--parallel',
    '--split-mode',
    '--threads',
    '--threads-batch',
    '--ubatch-size',
  ]),
  aliases: {
    '--batch-size': ['-b'],
    '--cache-type-k': ['-ctk'],
    '--cache-type-v': ['-ctv'],
    '--flash-attn': ['-fa'],
    '--n-cpu-moe': ['-ncmoe'],
    '--n-gpu-layers': ['-ngl', '--gpu-layers'],
    '--parallel': ['-np'],
    '--split-mode': ['-sm'],
    '--threads': ['-t'],
    '--threads-batch': ['-tb'],
    '--ubatch-size': ['-ub'],
  },
};

const reserved = {
  '--port': 'Give it as port = "…" in [llamacpp.command].',
  '--host': 'Leave it out: it is the address of the node.',
  '--model': 'Give it as model = "…" in [llamacpp.command].',
  '-m': 'Give it as model = "…" in [llamacpp.command].',
  '--parallel': 'Give it as a field PARALLEL: the context follows from it.',
  '-np': 'Give it as a field PARALLEL: the context follows from it.',
};

function fieldsOf(config: LlamacppConfig): readonly Field[] {
  const own = config.target_field;
  if (own.length > 0 && config.fields === undefined) return own;
  const standard = [
    field.log('PARALLEL', 1, 32, 4),
    field.oneOf('BATCH_SIZE', [256, 512, 1024, 2048, 4096, 8192], 2048),
    field.oneOf('UBATCH_SIZE', [64, 128, 256, 512, 1024, 2048], 512),
    field.oneOf('FLASH_ATTN', ['on', 'off'], 'on'),
    field.log('CONCURRENCY', 1, 64, 4),
  ];
  const wide = [
    field.oneOf('CACHE_TYPE_K', ['f16', 'q8_0'], 'f16'),
    field.oneOf('CACHE_TYPE_V', ['f16', 'q8_0'], 'f16'),
    field.log('THREADS', 1, 64, 8),
    field.log('THREADS_BATCH', 1, 64, 8),
  ];
  const known = config.fields === 'wide' ? [...standard, ...wide] : standard;
  const open = leftOpen(known, config.command.others, flagRules);
  return [...own, ...open.filter(({ name }) => !own.some((one) => one.name === name))];
}

function serverArguments(
  config: LlamacppConfig,
  params: ServingParams,
  topology: GroupTopology,
  { inspected }: TopologyNode,
): string[] {
  const { served_model_name: name, others: text, context_per_slot: context, port } = config.command;
  const fields = fieldsOf(config);
  const others = ownWords(text, 'llamacpp.command', reserved);
  const place = servingPlace(topology, { ...usualPlace, port: portNumber(port, usualPlace.port) });
  const slots = Number(params['PARALLEL'] ?? 1);
  const derived = mentions(others, '--ctx-size', '-c') ? [] : ['--ctx-size', String(context * slots)];
  const given = [
    '--model',
    givenModel(config.command.model, 'llamacpp', 'the path of a GGUF file'),
    ...(name === '' ? [] : ['--alias', name]),
    ...['--host', place.host, '--port', String(place.port)],
    ...derived,
    ...(params['PARALLEL'] === undefined && !mentions(others, '--parallel', '-np')
      ? ['--parallel', '1']
      : []),
    // It would fill in what is left unset by itself, differently for each trial.
    ...(inspected?.includes('fit=no') === true || mentions(others, '--fit', '-fit') ? [] : ['--fit', 'off']),
    ...(mentions(others, '--metrics') ? [] : ['--metrics']),
    ...flagsOfFields(fields, params, others, flagRules),
    ...others,
  ];
  return fill(given, textsOf(fields, params));
}

/** The context is what a slot has; batches, threads and cache types are not told. */
function parseProps(body: string): Record<string, EffectiveValue> {
  const props = JSON.parse(body) as { total_slots?: number };
  return props.total_slots === undefined ? {} : { PARALLEL: { value: props.total_slots } };
}

/** llama.cpp by `llama-server`, one node a group. */
export const llamacppEngine: Engine<LlamacppConfig> = {
  name: 'llamacpp',
  config: llamacppConfig,
  fieldsOf,
  presets: () => [
    { name: 'throughput', params: { PARALLEL: 16, BATCH_SIZE: 4096, UBATCH_SIZE: 1024, CONCURRENCY: 16 } },
    { name: 'latency', params: { PARALLEL: 2, BATCH_SIZE: 1024, UBATCH_SIZE: 256, CONCURRENCY: 2 } },
    { name: 'balanced', params: { PARALLEL: 8, BATCH_SIZE: 2048, UBATCH_SIZE: 512, CONCURRENCY: 8 } },
  ],
  constraints: () => [
    { expr: 'batch_size >= ubatch_size', reason: 'batch_size must not be below ubatch_size' },
    {
      expr: 'cache_type_v == "f16" || flash_attn == "on"',
      reason: 'a quantised V cache needs flash attention',
    },
  ],
  changesNumerics: ['CACHE_TYPE_K', 'CACHE_TYPE_V'],

  plan(config, params, topology) {
    const { settings, nodes } = topology;
    const [node] = nodes as [TopologyNode, ...TopologyNode[]];
    if (nodes.length > 1) {
      const remedy = 'Set --nodes-per-group 1.';
      throw new ConfigurationError(
        `llama-server serves on one node, and a group has ${nodes.length}`,
        {},
        { remedy },
      );
    }
    const fields = fieldsOf(config);
    const { port, served_model_name: name } = config.command;
    const place = servingPlace(topology, { ...usualPlace, port: portNumber(port, usualPlace.port) });
    return {
      files: [],
      stages: [
        {
          processes: [
            {
              rank: 0,
              role: 'master',
              command: {
                argv: [...config.executable, ...serverArguments(config, params, topology, node)] as [
                  string,
                  ...string[],
                ],
                cwd: node.workDir,
                env: {
                  ...node.env,
                  ...tunedVariables(fields, textsOf(fields, params)),
                  ...deviceVariables(node),
                  OPTIMIZER_TRIAL_ID: String(topology.trialId),
                },
              },
            },
          ],
          until: { kind: 'started' },
          timeout: fromSeconds(settings.health_check_timeout),
        },
      ],
      probe: { url: place.probeUrl, expectStatus: 200 },
      stop: [],
      detached: false,
      silenceTimeout: fromSeconds(settings.start_silence_timeout),
      target: { baseUrl: place.origin, model: name === '' ? undefined : name },
    };
  },

  needs: ({ executable, command: { model } }) => ({ executable, model }),

  inspection: (config, node, group) => ({
    argv: [
      'sh',
      '-c',
      'case $("$@" --help 2>&1) in *--fit*) echo fit=yes ;; *) echo fit=no ;; esac',
      'sh',
      ...config.executable,
    ],
    label: 'llama-server --help',
    env: { ...group.env, ...node.env },
  }),

  readBack(config, _params, topology) {
    const port = portNumber(config.command.port, usualPlace.port);
    const { origin } = servingPlace(topology, { ...usualPlace, port });
    return { urls: [`${origin}/props`], parse: parseProps };
  },

  logPatterns: [
    // An allocation may be tried again elsewhere: only the end of the process tells that none was found.
    { ...paramsFault('cudaMalloc failed: out of memory'), fatal: false },
    { ...paramsFault('failed to allocate'), also: 'buffer', fatal: false },
    { ...paramsFault('unable to allocate'), also: 'buffer', fatal: false },
    { ...paramsFault('failed to create context'), fatal: false },
    operator(
      'error while handling argument',
      'This version of llama-server does not take an argument: see the line.',
    ),
    operator('error: invalid argument', 'This version does not know an argument: see the line.'),
    operator('unknown model architecture', 'This version of llama.cpp does not know the model.'),
    operator('invalid value for main_gpu', 'Check the device ids of this node.'),
    nodeFault("couldn't bind HTTP server socket", 'Something else holds the port on this node.'),
    wrapper('exiting due to model loading error'),
    ...commonPatterns,
  ],
};
