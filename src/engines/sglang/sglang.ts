import { fromSeconds } from '../../base/units.ts';
import type { ParamValue, ServingParams } from '../../core/space/field.ts';
import type { EffectiveValue, Engine, GroupTopology, TopologyNode } from '../../parallel/ports.ts';
import { fill, flagsOfFields, givenModel, mentions, ownWords } from '../arguments.ts';
import { textsOf, tunedVariables } from '../fields.ts';
import { layoutField, layoutOf, layoutText, parseLayout, type Layout } from '../layout.ts';
import { memoryInspection, mostOf, narrowedByMemory, refusedByMemory } from '../memory-prior.ts';
import { sglangConfig, sglangFields, sglangFlags, sglangPresets, type SglangConfig } from './space.ts';
import {
  commonPatterns,
  node as nodeFault,
  operator,
  params as paramsFault,
  wrapper,
} from '../log-patterns.ts';
import { inUrl, portNumber, servingPlace } from '../place.ts';
import { deviceVariables, fabricVariables, shapeOf } from '../shape.ts';

const reserved = {
  '--port': 'Give it as port = "…" in [sglang.command].',
  '--host': 'Leave it out: it is the address of each node.',
  '--served-model-name': 'Give it as served_model_name = "…" in [sglang.command].',
  '--nnodes': 'Leave it out: it follows from the nodes of the group.',
  '--node-rank': 'Leave it out: it follows from the nodes of the group.',
  '--dist-init-addr': 'Leave it out: it follows from the nodes of the group.',
};

const usualPlace = { port: 30_000, path: '/health_generate' };

function presentLayout(config: SglangConfig, params: ServingParams, topology: GroupTopology): Layout {
  const shape = shapeOf(topology);
  const [only] = config.layouts ?? [];
  const all = { tp: shape.devicesPerNode, pp: shape.nodes, dp: 1, ep: config.experts };
  return layoutOf(params, only === undefined ? all : parseLayout(only));
}

function launchArguments(
  config: SglangConfig,
  params: ServingParams,
  topology: GroupTopology,
  { rank }: TopologyNode,
): string[] {
  const { served_model_name: name, others: text, port } = config.command;
  const { nodes, masterPort } = topology;
  const shape = shapeOf(topology);
  const fields = sglangFields(config, shape);
  const others = ownWords(text, 'sglang.command', reserved);
  const place = servingPlace(topology, { ...usualPlace, port: portNumber(port, usualPlace.port) });
  const { tp, pp, dp, ep } = presentLayout(config, params, topology);
  const sizes: [string, string, number][] = [
    ['--tp-size', '--tensor-parallel-size', tp],
    ['--pp-size', '--pipeline-parallel-size', pp],
    ['--dp-size', '--data-parallel-size', dp],
    ['--ep-size', '--expert-parallel-size', ep ? tp : 1],
  ];
  const host = rank === 0 ? place.host : (nodes[rank]?.address ?? place.host);
  const together = ['--nnodes', String(nodes.length), '--node-rank', String(rank)];
  const given = [
    '--model-path',
    givenModel(config.command.model, 'sglang'),
    ...(name === '' ? [] : ['--served-model-name', name]),
    ...['--host', host, '--port', String(place.port)],
    ...sizes.flatMap(([flag, long, size]) =>
      size > 1 && !mentions(others, flag, long) ? [flag, String(size)] : [],
    ),
    ...(nodes.length > 1
      ? [...together, '--dist-init-addr', `${inUrl(nodes[0]?.address ?? '')}:${masterPort}`]
      : []),
    ...(mentions(others, '--enable-metrics') ? [] : ['--enable-metrics']),
    ...flagsOfFields(fields, params, others, sglangFlags),
    ...others,
  ];
  return fill(given, textsOf(fields, params));
}

/** All server arguments by their names, flat; `CHUNKED_PREFILL_SIZE` is `chunked_prefill_size` there. */
function parseServerInfo(body: string): Record<string, EffectiveValue> {
  const info = JSON.parse(body) as Record<string, ParamValue | null>;
  const found: Record<string, EffectiveValue> = {};
  for (const flag of sglangFlags.flags) {
    const key = flag.slice(2).replaceAll('-', '_');
    const value = info[key];
    if (value !== undefined && value !== null && typeof value !== 'object')
      found[key.toUpperCase()] = { value };
  }
  if (typeof info['tp_size'] === 'number') {
    const size = (key: string): number => Number(info[key] ?? 1);
    const layout = { tp: size('tp_size'), pp: size('pp_size'), dp: size('dp_size'), ep: size('ep_size') > 1 };
    found[layoutField] = { value: layoutText(layout) };
  }
  return found;
}

const ownUtilization = ({ command }: SglangConfig): number =>
  Number(/--mem-fraction-static[= ]([\d.]+)/.exec(command.others)?.[1] ?? 0.9);

/** SGLang by `sglang.launch_server`, every node with its rank. */
export const sglangEngine: Engine<SglangConfig> = {
  name: 'sglang',
  config: sglangConfig,
  fieldsOf: sglangFields,
  presets: sglangPresets,
  constraints: () => [
    {
      expr: 'max_prefill_tokens >= chunked_prefill_size',
      reason: 'max_prefill_tokens must not be below chunked_prefill_size',
    },
    {
      expr: 'cuda_graph_max_bs <= max_running_requests',
      reason: 'graphs beyond max_running_requests are never used',
    },
  ],
  changesNumerics: ['KV_CACHE_DTYPE', 'SPECULATIVE_ALGORITHM'],

  plan(config, params, topology) {
    const { settings, nodes } = topology;
    const timeout = fromSeconds(settings.health_check_timeout);
    const fields = sglangFields(config, shapeOf(topology));
    const { port, served_model_name: name } = config.command;
    const place = servingPlace(topology, { ...usualPlace, port: portNumber(port, usualPlace.port) });
    const process = (node: TopologyNode) => ({
      rank: node.rank,
      role: node.rank === 0 ? 'master' : 'worker',
      command: {
        argv: [...config.executable, ...launchArguments(config, params, topology, node)] as [
          string,
          ...string[],
        ],
        cwd: node.workDir,
        env: {
          ...(nodes.length > 1 ? fabricVariables(node) : {}),
          ...node.env,
          ...tunedVariables(fields, textsOf(fields, params)),
          ...deviceVariables(node),
          OPTIMIZER_TRIAL_ID: String(topology.trialId),
        },
      },
    });
    return {
      files: [],
      // All at once, the head last: each waits for the others at the rendezvous.
      stages: [
        {
          processes: [...nodes.slice(1), ...nodes.slice(0, 1)].map(process),
          until: { kind: 'started' },
          timeout,
        },
      ],
      probe: { url: place.probeUrl, expectStatus: 200 },
      stop: [],
      detached: false,
      silenceTimeout: fromSeconds(settings.start_silence_timeout),
      target: {
        baseUrl: place.origin,
        model: name === '' ? givenModel(config.command.model, 'sglang') : name,
      },
    };
  },

  needs: ({ executable, command: { model } }) => ({ executable, model }),

  inspection(config, node, group) {
    const [device = 0] = node.npu_ids;
    return memoryInspection(config.command.model, device, { env: { ...group.env, ...node.env } });
  },

  refused(config, params, topology, guidance) {
    const layout = presentLayout(config, params, topology);
    const utilization = Number(params['MEM_FRACTION_STATIC'] ?? ownUtilization(config));
    return layout.ep ? undefined : refusedByMemory(topology, layout, utilization, guidance);
  },

  refine(config, fields, topology, guidance) {
    const { others } = config.command;
    const utilization = mostOf(fields, 'MEM_FRACTION_STATIC') ?? ownUtilization(config);
    return narrowedByMemory(fields, 'MAX_RUNNING_REQUESTS', topology, { utilization, others }, guidance);
  },

  readBack(config, _params, topology) {
    const port = portNumber(config.command.port, usualPlace.port);
    const { origin } = servingPlace(topology, { ...usualPlace, port });
    return { urls: [`${origin}/server_info`, `${origin}/get_server_info`], parse: parseServerInfo };
  },

  logPatterns: [
    paramsFault(
      'Not enough memory. Please try to increase --mem-fraction-static',
      'Raise mem_fraction_static, or tensor parallelism: the weights leave no room for the cache.',
    ),
    nodeFault('zmq.error.ZMQError: Address already in use', 'Something else holds a port on this node.'),
    operator(
      "FileNotFoundError: [Errno 2] No such file or directory: 'ninja'",
      'Install ninja on this node.',
    ),
    operator('error: unrecognized arguments:', 'This version does not know an argument: see the line.'),
    wrapper('Scheduler hit an exception:'),
    wrapper('DataParallelController hit an exception'),
    wrapper('Received sigquit from a child process'),
    ...commonPatterns,
  ],
};
