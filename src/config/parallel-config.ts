import { ConfigValidationError } from '../base/errors.ts';
import { parseNodeString, readHostfile, type HostGroup } from './host-lists.ts';
import type { HostEntry } from './host-syntax.ts';
import type { GroupDefaults, ParallelTable } from './schema-tables.ts';

function check(ok: boolean, field: string, value: unknown, constraint: string): void {
  if (!ok) throw new ConfigValidationError(field, value, constraint);
}

/** Which environment variables show a process its devices. */
export type DeviceType = 'npu' | 'gpu' | 'none';

export interface NodeOptions {
  readonly host: string;
  readonly ssh_port?: number | undefined;
  readonly npu_ids?: readonly number[] | undefined;
  readonly work_dir?: string | undefined;
  readonly username?: string | undefined;
  readonly identity_file?: string | undefined;
  readonly known_hosts_file?: string | undefined;
  readonly ssh_config?: string | undefined;
  readonly device_type?: string | undefined;
  readonly interface?: string | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** What an unset `health_check_url` means; engines that know their own place do not look at it. */
export const defaultHealthUrl = 'http://{host}:8000/health';

export const defaultWorkDir = '/tmp/modelevalstate';
export const defaultConfigPath = `${defaultWorkDir}/config.json`;

function deviceType(name: string | undefined): DeviceType | undefined {
  if (name === undefined) return undefined;
  if (name === 'none') return 'none';
  return name === 'gpu' || name === 'cuda' ? 'gpu' : 'npu';
}

/** `[::1]` and `::1` are the same host; brackets belong into URLs. */
function withoutBrackets(host: string): string {
  return host.replace(/^\[([0-9a-f:.%]+)\]$/i, '$1');
}

/** One machine of a group. */
export class NodeConfig {
  readonly host: string;
  /** Given in the configuration or by flag; else ~/.ssh/config decides, else 22. */
  readonly ssh_port: number | undefined;
  /** Device ids of any kind of accelerator. */
  readonly npu_ids: readonly number[];
  readonly work_dir: string;
  readonly username: string | undefined;
  readonly identity_file: string | undefined;
  readonly known_hosts_file: string | undefined;
  /** In place of ~/.ssh/config. */
  readonly ssh_config: string | undefined;
  /** undefined: found out on the node. */
  readonly device_type: DeviceType | undefined;
  /** The network interface that other nodes of its group are reached by. */
  readonly interface: string | undefined;
  /** For processes on this node, over those of its group. */
  readonly env: Readonly<Record<string, string>>;

  constructor(options: NodeOptions) {
    const { host, ssh_port: port, npu_ids: ids = [0, 1, 2, 3, 4, 5, 6, 7] } = options;
    check(host !== '', 'host', host, 'host cannot be empty');
    check(
      port === undefined || (port >= 1 && port <= 65535),
      'ssh_port',
      port,
      `Invalid SSH port: ${String(port)}`,
    );
    check(ids.length > 0, 'npu_ids', ids, 'npu_ids cannot be empty');
    this.host = withoutBrackets(host);
    this.ssh_port = port;
    this.npu_ids = ids;
    this.work_dir = options.work_dir ?? defaultWorkDir;
    this.username = options.username === '' ? undefined : options.username;
    this.identity_file = options.identity_file;
    this.known_hosts_file = options.known_hosts_file;
    this.ssh_config = options.ssh_config;
    this.device_type = deviceType(options.device_type);
    this.interface = options.interface;
    this.env = options.env ?? {};
  }

  toString(): string {
    return `NodeConfig(host=${this.host}, npus=${this.npu_ids.length})`;
  }
}

export interface ServiceGroupOptions {
  readonly group_id: number;
  readonly nodes: readonly NodeConfig[];
  readonly master_node_index?: number | undefined;
  readonly start_script?: string | undefined;
  readonly worker_script?: string | undefined;
  readonly stop_script?: string | undefined;
  readonly config_path?: string | undefined;
  readonly health_check_url?: string | undefined;
  readonly health_check_timeout?: number | undefined;
  readonly start_silence_timeout?: number | undefined;
  readonly stop_grace?: number | undefined;
  readonly port_offset?: number | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** Machines that host one instance of the service. Durations are seconds. */
export class ServiceGroupConfig {
  readonly group_id: number;
  /** The master first. */
  readonly nodes: readonly NodeConfig[];
  readonly start_script: string;
  readonly worker_script: string | undefined;
  readonly stop_script: string | undefined;
  readonly config_path: string;
  readonly health_check_url: string;
  readonly health_check_timeout: number;
  readonly start_silence_timeout: number;
  readonly stop_grace: number;
  /** Its ports are so far above those of the configuration. */
  readonly port_offset: number;
  readonly env: Readonly<Record<string, string>>;

  constructor(options: ServiceGroupOptions) {
    const { nodes, master_node_index: master = 0, health_check_timeout: timeout = 1800 } = options;
    check(nodes.length > 0, 'nodes', 0, 'nodes cannot be empty');
    check(
      master >= 0 && master < nodes.length,
      'master_node_index',
      master,
      `master_node_index (${master}) out of range for ${nodes.length} nodes`,
    );
    const twice = nodes.find((node, index) => nodes.findIndex(({ host }) => host === node.host) !== index);
    check(twice === undefined, 'nodes', twice?.host, 'each host of a group once');
    check(timeout > 0, 'health_check_timeout', timeout, 'health_check_timeout must be positive');
    this.group_id = options.group_id;
    this.nodes = [...nodes.slice(master, master + 1), ...nodes.slice(0, master), ...nodes.slice(master + 1)];
    this.start_script = options.start_script ?? './start_service.sh';
    this.worker_script = options.worker_script === '' ? undefined : options.worker_script;
    this.stop_script = options.stop_script === '' ? undefined : options.stop_script;
    this.config_path = options.config_path ?? defaultConfigPath;
    this.health_check_url = options.health_check_url ?? defaultHealthUrl;
    this.health_check_timeout = timeout;
    this.start_silence_timeout = options.start_silence_timeout ?? 600;
    this.stop_grace = options.stop_grace ?? 10;
    this.port_offset = options.port_offset ?? 0;
    this.env = options.env ?? {};
  }

  get npus(): number {
    return this.nodes.reduce((sum, node) => sum + node.npu_ids.length, 0);
  }

  toString(): string {
    return `ServiceGroupConfig(id=${this.group_id}, nodes=${this.nodes.length}, npus=${this.npus})`;
  }
}

/** What fields and layouts depend on before anything is connected. */
export interface GroupShape {
  readonly nodes: number;
  readonly devicesPerNode: number;
  /** undefined: found out on the nodes. */
  readonly deviceType: DeviceType | undefined;
}

export interface ParallelOptions {
  readonly enabled?: boolean;
  readonly service_groups?: readonly ServiceGroupConfig[];
  readonly evaluation_timeout?: number;
  readonly retry_count?: number;
  readonly retry_delay?: number;
}

export interface FromHostsOptions {
  readonly npusPerNode?: number;
  /** Keys of `[parallel.defaults]`, for every group and node. */
  readonly defaults?: GroupDefaults;
}

/** All groups, and how evaluations on them are bounded and retried. Durations are seconds. */
export class ParallelConfig {
  readonly enabled: boolean;
  readonly service_groups: readonly ServiceGroupConfig[];
  readonly evaluation_timeout: number;
  readonly retry_count: number;
  readonly retry_delay: number;

  constructor(options: ParallelOptions = {}) {
    const { enabled = false, service_groups: groups = [], evaluation_timeout: timeout = 600 } = options;
    const { retry_count: retries = 2 } = options;
    check(
      !enabled || groups.length > 0,
      'service_groups',
      0,
      'service_groups cannot be empty when parallel is enabled',
    );
    check(timeout > 0, 'evaluation_timeout', timeout, 'evaluation_timeout must be positive');
    check(retries >= 0, 'retry_count', retries, 'retry_count cannot be negative');
    const ids = new Set(groups.map((group) => group.group_id));
    const duplicate = groups.find(
      (group, index) => groups.findIndex((g) => g.group_id === group.group_id) !== index,
    );
    check(
      ids.size === groups.length,
      'group_id',
      duplicate?.group_id,
      'each group needs a group_id of its own',
    );
    this.enabled = enabled;
    this.service_groups = groups;
    this.evaluation_timeout = timeout;
    this.retry_count = retries;
    this.retry_delay = options.retry_delay ?? 10;
  }

  withGroups(groups: readonly ServiceGroupConfig[]): ParallelConfig {
    return new ParallelConfig(Object.assign({}, this, { service_groups: groups }));
  }

  /** What fits on every group: of the smallest. */
  get shape(): GroupShape {
    const nodes = this.service_groups.flatMap((group) => group.nodes);
    return {
      nodes: Math.min(...this.service_groups.map((group) => group.nodes.length)),
      devicesPerNode: Math.min(...nodes.map((node) => node.npu_ids.length)),
      deviceType: nodes.find((node) => node.device_type !== undefined)?.device_type,
    };
  }

  /** @throws ConfigurationError naming the line */
  static fromHostfile(path: string, nodesPerGroup = 2, options: FromHostsOptions = {}): ParallelConfig {
    return ParallelConfig.fromHosts(readHostfile(path, nodesPerGroup).groups, options);
  }

  /** `n0,n1:n2,n3` */
  static fromNodeString(text: string, options: FromHostsOptions = {}): ParallelConfig {
    return ParallelConfig.fromHosts(parseNodeString(text).groups, options);
  }

  static fromHosts(
    groups: readonly HostGroup[],
    { npusPerNode, defaults = {} }: FromHostsOptions = {},
  ): ParallelConfig {
    return new ParallelConfig({
      enabled: true,
      service_groups: groups.map(({ groupId, hosts }) => groupOf(groupId, hosts, defaults, npusPerNode)),
    });
  }

  /** The `[parallel]` table, its defaults applied to every group and node that does not say otherwise. */
  static fromSettings(table: ParallelTable): ParallelConfig {
    const { defaults } = table;
    return new ParallelConfig({
      ...table,
      service_groups: table.service_groups.map((group) => {
        const nodes = group.nodes.map(
          (node) => new NodeConfig({ ...defaults, ...defined(group), env: undefined, ...defined(node) }),
        );
        const env = { ...defaults.env, ...group.env };
        return new ServiceGroupConfig({ ...defaults, ...defined(group), env, nodes });
      }),
    });
  }

  toString(): string {
    const npus = this.service_groups.reduce((sum, group) => sum + group.npus, 0);
    const enabled = this.enabled ? 'True' : 'False';
    return `ParallelConfig(enabled=${enabled}, groups=${this.service_groups.length}, total_npus=${npus})`;
  }
}

const firstIds = (count: number): number[] => Array.from({ length: Math.max(0, count) }, (_, id) => id);

/** The devices that the host's own line selects; else those of every host. */
function devicesOf({ host, slots, devices, without = [] }: HostEntry, usual: readonly number[]): number[] {
  const all = slots === undefined ? usual : firstIds(slots);
  const left = (devices ?? all).filter((id) => !without.includes(id));
  if (left.length > 0) return left;
  throw new ConfigValidationError('npu_ids', host, `no device of ${host} is left`);
}

function groupOf(
  id: number,
  hosts: readonly HostEntry[],
  defaults: GroupDefaults,
  npusPerNode: number | undefined,
): ServiceGroupConfig {
  const usual = npusPerNode === undefined ? (defaults.npu_ids ?? firstIds(8)) : firstIds(npusPerNode);
  const nodes = hosts.map((entry) => {
    const { host, user: username, port: ssh_port } = entry;
    const own = defined({ username, ssh_port });
    return new NodeConfig({ ...defaults, env: undefined, npu_ids: devicesOf(entry, usual), host, ...own });
  });
  return new ServiceGroupConfig({ ...defaults, group_id: id, nodes });
}

/** Without the keys that are undefined: they must not hide a default. */
function defined<T extends object>(table: T): T {
  return Object.fromEntries(Object.entries(table).filter(([, value]) => value !== undefined)) as T;
}
