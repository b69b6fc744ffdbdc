import { ConfigurationError } from '../../base/errors.ts';
import { fromSeconds } from '../../base/units.ts';
import type { ServingParams } from '../../core/space/field.ts';
import type { GroupTopology, LaunchPlan, PlannedProcess, Stage, TopologyNode } from '../../parallel/ports.ts';
import { fill, flagOf, flagsOfFields, givenModel, mentions, namesIn, ownWords } from '../arguments.ts';
import { textsOf, tunedVariables } from '../fields.ts';
import { layoutOf, parseLayout, type Layout } from '../layout.ts';
import { boundHost, portNumber, servingPlace, type ServingPlace } from '../place.ts';
import { deviceVariables, fabricVariables, shapeOf } from '../shape.ts';
import type { Distributed, VllmConfig } from './config.ts';
import { rayOf, rayStages } from './ray.ts';
import { distributedOf, vllmFields, vllmFlags, vllmReserved } from './space.ts';

/** What all nodes of one start have in common. */
interface Start {
  readonly config: VllmConfig;
  readonly params: ServingParams;
  readonly topology: GroupTopology;
  readonly distributed: Distributed;
  readonly place: ServingPlace;
}

/** What is run where nothing is tuned: the only layout that the user wants, or all devices. */
export function usualLayout({
  config,
  topology,
  distributed,
}: Pick<Start, 'config' | 'topology' | 'distributed'>): Layout {
  const [only] = config.layouts ?? [];
  if (only !== undefined) return parseLayout(only);
  const { nodes, devicesPerNode } = shapeOf(topology);
  const across = distributed === 'dp';
  return { tp: devicesPerNode, pp: across ? 1 : nodes, dp: across ? nodes : 1, ep: config.experts };
}

/** Sizes as flags, where neither the user's words nor one device leave anything to say. */
function layoutFlags(start: Start, others: readonly string[]): string[] {
  const { params, topology, distributed, config } = start;
  const nodes = topology.nodes.length;
  const across = distributed === 'dp';
  const named = namesIn(others);
  const tuned = Object.keys(params).some(
    (name) =>
      /^(LAYOUT|(TENSOR|PIPELINE|DATA)_PARALLEL_SIZE|ENABLE_EXPERT_PARALLEL)$/.test(name) && !named.has(name),
  );
  if (!tuned && distributed === 'none' && config.layouts === undefined) return [];
  const { tp, pp, dp, ep } = layoutOf(params, usualLayout(start));
  const sizes: [string, string, number][] = [
    ['--tensor-parallel-size', '-tp', tp],
    ['--pipeline-parallel-size', '-pp', pp],
    ['--data-parallel-size', '-dp', dp],
  ];
  const wanted = sizes.filter(([long, short, size]) => size > 1 && !mentions(others, long, short));
  return [
    ...wanted.flatMap(([long, , size]) => [long, String(size)]),
    ...(across && dp > nodes ? ['--data-parallel-size-local', String(dp / nodes)] : []),
    ...(across && dp === nodes ? ['--data-parallel-size-local', '1'] : []),
    ...(ep && !mentions(others, '--enable-expert-parallel', '-ep') ? ['--enable-expert-parallel'] : []),
  ];
}

/** What makes one node a part of the whole. */
function rankFlags({ topology, distributed, params, config }: Start, rank: number): string[] {
  const { nodes, masterPort } = topology;
  const head = nodes[0]?.address ?? '';
  const headless = rank === 0 ? [] : ['--headless'];
  switch (distributed) {
    case 'none':
      return [];
    case 'ray':
      return ['--distributed-executor-backend', 'ray'];
    case 'mp': {
      const rendezvous = ['--master-addr', head, '--master-port', String(masterPort)];
      const place = ['--nnodes', String(nodes.length), '--node-rank', String(rank)];
      return ['--distributed-executor-backend', 'mp', ...place, ...rendezvous, ...headless];
    }
    case 'dp': {
      const { dp } = layoutOf(params, usualLayout({ config, topology, distributed }));
      const start = rank === 0 ? [] : ['--data-parallel-start-rank', String((rank * dp) / nodes.length)];
      const rpc = ['--data-parallel-address', head, '--data-parallel-rpc-port', String(masterPort)];
      return [...rpc, ...start, ...headless];
    }
  }
}

function serveArguments(start: Start, rank: number): string[] {
  const { config, params, topology, place } = start;
  const { served_model_name: name, others: text } = config.command;
  const fields = vllmFields(config, shapeOf(topology));
  const others = ownWords(text, 'vllm.command', vllmReserved);
  const usual = ['MAX_NUM_BATCHED_TOKENS', 'MAX_NUM_SEQS'].filter(
    (name) => params[name] !== undefined && !mentions(others, flagOf(name)),
  );
  // A node without a server takes no part in serving requests.
  const tuned = rank === 0 ? params : { ...params, API_SERVER_COUNT: '' };
  const given = [
    givenModel(config.command.model, 'vllm'),
    ...(name === '' ? [] : ['--served-model-name', name]),
    ...['--host', boundHost(config.command.host, place), '--port', String(place.port)],
    ...usual.flatMap((name) => [flagOf(name), `$${name}`]),
    ...layoutFlags(start, others),
    ...flagsOfFields(fields, tuned, others, vllmFlags),
    ...rankFlags(start, rank),
    ...others,
  ];
  return fill(given, textsOf(fields, params));
}

/** Shows what it really runs with, and lets its cache be emptied: to anybody, so not in what stays. */
const devMode = 'VLLM_SERVER_DEV_MODE';

/** Variables for every process of a node, also for those that do not serve: Ray hands them down. */
function environment(
  { config, params, topology, distributed }: Start,
  node: TopologyNode,
): Record<string, string> {
  const fields = vllmFields(config, shapeOf(topology));
  const together = distributed !== 'none';
  return {
    [devMode]: '1',
    ...(together ? { ...fabricVariables(node), VLLM_HOST_IP: node.address } : {}),
    ...(distributed === 'ray' && node.deviceType === 'npu'
      ? { RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES: '1' }
      : {}),
    ...node.env,
    ...tunedVariables(fields, textsOf(fields, params)),
    ...deviceVariables(node),
    OPTIMIZER_TRIAL_ID: String(topology.trialId),
  };
}

function stagesOf(start: Start): Stage[] {
  const { config, topology, distributed } = start;
  const timeout = fromSeconds(topology.settings.health_check_timeout);
  const serve = (node: TopologyNode): PlannedProcess => ({
    rank: node.rank,
    role: node.rank === 0 ? 'master' : 'worker',
    scaffold: [devMode],
    command: {
      argv: [...config.executable, 'serve', ...serveArguments(start, node.rank)] as [string, ...string[]],
      cwd: node.workDir,
      env: environment(start, node),
    },
  });
  const until = { kind: 'started' } as const;
  const [head, ...workers] = topology.nodes as [TopologyNode, ...TopologyNode[]];
  if (distributed === 'none') return [{ processes: [serve(head)], until, timeout }];
  if (distributed === 'ray') {
    const env = (node: TopologyNode): Record<string, string> => environment(start, node);
    return [
      ...rayStages(topology, rayOf(config.executable), env, timeout),
      { processes: [serve(head)], until, timeout },
    ];
  }
  // All at once: each waits for the others. The head last, for it is the one that is watched.
  return [{ processes: [...workers, head].map(serve), until, timeout }];
}

export function vllmPlan(config: VllmConfig, params: ServingParams, topology: GroupTopology): LaunchPlan {
  const { settings, nodes } = topology;
  const distributed = distributedOf(config, { nodes: nodes.length });
  refuseWhatCannotBe(distributed, topology);
  const usual = { port: portNumber(config.command.port, 8000), path: '/health' };
  const place = servingPlace(topology, usual);
  return {
    files: [],
    stages: stagesOf({ config, params, topology, distributed, place }),
    probe: { url: place.probeUrl, expectStatus: 200 },
    stop: [],
    detached: false,
    silenceTimeout: fromSeconds(settings.start_silence_timeout),
    target: {
      baseUrl: place.origin,
      model: config.command.served_model_name || givenModel(config.command.model, 'vllm'),
    },
  };
}

/** @throws ConfigurationError */
function refuseWhatCannotBe(distributed: Distributed, { nodes, groupId }: GroupTopology): void {
  if (distributed === 'none' && nodes.length > 1) {
    throw new ConfigurationError(
      `vllm.distributed = "none" serves on one node, and group ${groupId} has ${nodes.length}`,
      {},
      { remedy: 'Set distributed = "mp", "ray" or "dp", or --nodes-per-group 1.' },
    );
  }
  if (distributed === 'mp' && nodes.some(({ inspected }) => inspected?.includes('nnodes=no') === true)) {
    throw new ConfigurationError(
      'This version of vLLM cannot serve on several nodes by multiprocessing: it has no --nnodes',
      {},
      { remedy: 'Set [vllm] distributed = "ray", or use a newer vLLM.' },
    );
  }
}
