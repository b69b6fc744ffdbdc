import { posix } from 'node:path';
import { ConfigurationError } from '../../base/errors.ts';
import { fromSeconds } from '../../base/units.ts';
import { placeParams, type JsonObject } from '../../core/space/config-document.ts';
import type { ServingParams } from '../../core/space/field.ts';
import type {
  Command,
  GroupTopology,
  LaunchPlan,
  PlannedFile,
  PlannedProcess,
  TopologyNode,
} from '../../parallel/ports.ts';
import { textsOf, tunedVariables } from '../fields.ts';
import { servingPlace } from '../place.ts';
import { shapeOf } from '../shape.ts';
import type { MindieConfig } from './config.ts';
import { originalSuffix, parseInspection, type MindieNode } from './inspection.ts';
import { mindieFields, valueAt } from './space.ts';

/** MindIE checks that nobody but its user and group may read or write what it is given. */
const privateToGroup = 0o640;

const emptyNode: MindieNode = {
  daemon: 'mindie_llm_server',
  configPath: undefined,
  knowsEnv: true,
  deviceAddresses: new Map(),
  config: {},
  model: undefined,
  memory: undefined,
};

/** What was found on a node; before anything was looked at, what a new version would have. */
function found({ inspected, host }: TopologyNode): MindieNode {
  const node = parseInspection(inspected);
  if (node === undefined) return emptyNode;
  if (node.daemon === undefined) {
    const remedy = 'Install MindIE there, or set MIES_INSTALL_PATH in [parallel.defaults.env].';
    throw new ConfigurationError(
      `There is neither mindie_llm_server nor mindieservice_daemon on ${host}`,
      {},
      { remedy },
    );
  }
  if (node.config === undefined) {
    const remedy = 'Set config_path in [mindie] to the config.json that the service runs with today.';
    const where = node.configPath === undefined ? 'There is no config.json' : `${node.configPath} is no JSON`;
    throw new ConfigurationError(`${where} of MindIE on ${host}`, {}, { remedy });
  }
  return node;
}

function number(document: JsonObject, position: string, usual: number): number {
  const value = Number(valueAt(document, position));
  return Number.isFinite(value) && value > 0 ? value : usual;
}

interface Start {
  readonly config: MindieConfig;
  readonly params: ServingParams;
  readonly topology: GroupTopology;
}

const directoryOf = ({ runId, groupId }: GroupTopology, { workDir, rank }: TopologyNode): string =>
  posix.join(workDir, 'runs', runId, `g${groupId}-r${rank}`);

/** The configuration that is there, with the tuned values and what several nodes or another host need. */
function documentOf({ config, params, topology }: Start, node: TopologyNode): JsonObject {
  const base = found(node).config ?? {};
  const fields = mindieFields(config, shapeOf(topology)).filter(
    ({ config_position: position }) => position !== 'env',
  );
  const document = placeParams(params, fields, base);
  const place = (position: string, value: string | number | boolean): void => {
    Object.assign(document, placeParams({ value }, [{ name: 'value', config_position: position }], document));
  };
  place('ServerConfig.ipAddress', node.address);
  place('ServerConfig.managementIpAddress', node.address);
  if (!config.https) place('ServerConfig.httpsEnabled', false);
  const wanted = Number(params['CONCURRENCY'] ?? params['MAXCONCURRENCY'] ?? 0);
  const links = number(document, 'ServerConfig.maxLinkNum', 1000);
  if (wanted > links) place('ServerConfig.maxLinkNum', Math.min(4096, Math.ceil(wanted)));
  if (topology.nodes.length > 1) {
    place('BackendConfig.multiNodesInferEnabled', true);
    place('BackendConfig.multiNodesInferPort', topology.masterPort);
    place('BackendConfig.interNodeTLSEnabled', false);
  }
  return document;
}

/** Who has which device, by the addresses of the fabric; all values are texts. */
export function rankTable({ nodes }: GroupTopology): JsonObject {
  let rank = 0;
  const servers = nodes.map((node) => {
    const { deviceAddresses } = found(node);
    const device = node.deviceIds.map((id) => {
      const address = deviceAddresses.get(id);
      if (address === undefined && node.inspected !== undefined) {
        const remedy = `Check on ${node.host} what \`hccn_tool -i ${id} -ip -g\` prints.`;
        throw new ConfigurationError(
          `Device ${id} of ${node.host} has no address on the fabric`,
          {},
          { remedy },
        );
      }
      return { device_id: String(id), device_ip: address ?? '', rank_id: String(rank++) };
    });
    return { server_id: node.address, container_ip: node.address, device };
  });
  return { version: '1.0', server_count: String(nodes.length), server_list: servers, status: 'completed' };
}

const json = (document: JsonObject): string => `${JSON.stringify(document, null, 2)}\n`;

/** Removes what an earlier start left in shared memory, as far as it is ours and nobody has it open. */
const forgetSharedMemory = `for f in /dev/shm/*llm_backend_* /dev/shm/llm_tokenizer_shared_memory_*; do
  [ -O "$f" ] && [ -f "$f" ] || continue
  grep -qsF " $f" /proc/[0-9]*/maps && continue
  ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qF -- "-> $f" && continue
  rm -f -- "$f"
done
:`;

const editConfig = `set -e
if [ ! -e "$1${originalSuffix}" ]; then
  cp -p -- "$1" "$1${originalSuffix}.tmp"
  mv -- "$1${originalSuffix}.tmp" "$1${originalSuffix}"
fi
cat -- "$2" >"$1"`;
const restoreConfig = `[ -e "$1${originalSuffix}" ] || exit 0
cat -- "$1${originalSuffix}" >"$1" && rm -f -- "$1${originalSuffix}"`;

function shell(rank: number, role: string, script: string, ...words: string[]): PlannedProcess {
  return { rank, role, command: { argv: ['sh', '-c', script, 'sh', ...words], label: role } };
}

function isEdited({ config_via: via }: MindieConfig, node: TopologyNode): boolean {
  return via === 'edit' || (via === 'auto' && !found(node).knowsEnv);
}

function environment(start: Start, node: TopologyNode): Record<string, string> {
  const { config, params, topology } = start;
  const directory = directoryOf(topology, node);
  const fields = mindieFields(config, shapeOf(topology));
  const together = {
    RANK_TABLE_FILE: `${directory}/ranktable.json`,
    RANKTABLEFILE: `${directory}/ranktable.json`,
    MIES_CONTAINER_IP: node.address,
    HOST_IP: node.address,
    MASTER_IP: topology.nodes[0]?.address ?? node.address,
    HCCL_DETERMINISTIC: 'true',
  };
  return {
    MINDIE_LOG_TO_STDOUT: '1',
    ...(topology.nodes.length > 1 ? together : {}),
    ...node.env,
    ...tunedVariables(fields, textsOf(fields, params)),
    ...(isEdited(config, node) ? {} : { MIES_CONFIG_JSON_PATH: `${directory}/config.json` }),
    OPTIMIZER_TRIAL_ID: String(topology.trialId),
  };
}

/** Where it answers: requests on one port, questions about it on another. */
export function placesOf({ config, params, topology }: Start): {
  readonly origin: string;
  readonly probeUrl: string;
} {
  const [master] = topology.nodes as [TopologyNode, ...TopologyNode[]];
  const document = documentOf({ config, params, topology }, master);
  const scheme = valueAt(document, 'ServerConfig.httpsEnabled') === true ? 'https' : 'http';
  const port = number(document, 'ServerConfig.port', 1025);
  const management = number(document, 'ServerConfig.managementPort', 1026);
  const probe = servingPlace(topology, { scheme, port: management, path: '/health' });
  return {
    origin: servingPlace({ ...topology }, { scheme, port, path: '/' }).origin.replace(/:\d+$/, `:${port}`),
    probeUrl: probe.probeUrl,
  };
}

export function mindiePlan(config: MindieConfig, params: ServingParams, topology: GroupTopology): LaunchPlan {
  const start = { config, params, topology };
  const { nodes, settings } = topology;
  const { origin, probeUrl } = placesOf(start);
  const files = nodes.flatMap((node): PlannedFile[] => {
    const { rank } = node;
    const directory = directoryOf(topology, node);
    const own = {
      rank,
      path: `${directory}/config.json`,
      content: json(documentOf(start, node)),
      mode: privateToGroup,
    };
    if (nodes.length === 1) return [own];
    const table = json(rankTable(topology));
    return [own, { rank, path: `${directory}/ranktable.json`, content: table, mode: privateToGroup }];
  });
  const edited = nodes.filter((node) => isEdited(config, node));
  if (edited.length > 0 && (topology.runtime === 'docker' || topology.runtime === 'podman')) {
    throw new ConfigurationError(
      `This MindIE does not know MIES_CONFIG_JSON_PATH, and an edited configuration is lost with its container`,
      {},
      { remedy: 'Use [runtime] kind = "exec" with a container that you keep up, or a newer MindIE.' },
    );
  }
  const installed = (node: TopologyNode): string => found(node).configPath ?? '';
  const process = (node: TopologyNode): PlannedProcess => {
    const daemon = found(node).daemon ?? 'mindie_llm_server';
    const command: Command = { argv: [daemon], cwd: node.workDir, env: environment(start, node) };
    return { rank: node.rank, role: node.rank === 0 ? 'master' : 'worker', command };
  };
  return {
    files,
    prepare: [
      ...nodes.map(({ rank }) => shell(rank, 'forget shared memory', forgetSharedMemory)),
      ...edited.map((node) =>
        shell(
          node.rank,
          'edit config.json',
          editConfig,
          installed(node),
          `${directoryOf(topology, node)}/config.json`,
        ),
      ),
    ],
    // All at about the same time: each waits for the others.
    stages: [
      {
        processes: [...nodes.slice(1), ...nodes.slice(0, 1)].map(process),
        until: { kind: 'started' },
        timeout: fromSeconds(settings.health_check_timeout),
      },
    ],
    probe: { url: probeUrl, expectStatus: 200 },
    stop: [],
    restore: edited.map((node) => shell(node.rank, 'restore config.json', restoreConfig, installed(node))),
    detached: false,
    silenceTimeout: fromSeconds(settings.start_silence_timeout),
    target: { baseUrl: origin, model: modelName(found(nodes[0] as TopologyNode).config) },
  };
}

function modelName(document: JsonObject | undefined): string | undefined {
  const name = valueAt(document ?? {}, 'BackendConfig.ModelDeployConfig.ModelConfig.0.modelName');
  return typeof name === 'string' ? name : undefined;
}
