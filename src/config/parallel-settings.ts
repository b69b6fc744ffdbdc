import { ConfigurationError } from '../base/errors.ts';
import type { HostGroups } from './host-lists.ts';
import { ParallelConfig, type NodeOptions } from './parallel-config.ts';
import type { TopLevel } from './schema.ts';
import type { SettingsInput } from './settings.ts';
import { isTable } from './toml.ts';

/** What is simulated where nobody says otherwise: four groups of two. */
const imagined: HostGroups = {
  groups: [0, 1, 2, 3].map((groupId) => ({
    groupId,
    hosts: [{ host: `sim${2 * groupId}` }, { host: `sim${2 * groupId + 1}` }],
  })),
  warnings: [],
};

/** The later original's name for how long a start may take. */
const startLimit = ({ wait_start_time: limit }: TopLevel): { health_check_timeout?: number } =>
  limit === undefined ? {} : { health_check_timeout: limit };

/** Seconds of one benchmark: `particles_time_out` is what it is called where nothing is parallel. */
function benchmarkLimit(top: TopLevel, { values }: SettingsInput['document']): number {
  const parallel = isTable(values['parallel']) ? values['parallel'] : {};
  const isOld = values['particles_time_out'] !== undefined && parallel['evaluation_timeout'] === undefined;
  return isOld ? top.particles_time_out : top.parallel.evaluation_timeout;
}

/** An allocation that is made is for steps in it. */
export const usesSlurm = (
  { launcher, slurm }: Partial<TopLevel['parallel']>,
  flags: SettingsInput['flags'],
): boolean =>
  flags.launcher === undefined
    ? launcher === 'slurm' || (flags.slurm ?? slurm) !== undefined
    : flags.launcher === 'slurm';

function sshFlags({ identity, user, sshPort, sshConfig }: SettingsInput['flags']): Partial<NodeOptions> {
  return {
    ...(identity === undefined ? {} : { identity_file: identity }),
    ...(user === undefined ? {} : { username: user }),
    ...(sshPort === undefined ? {} : { ssh_port: sshPort }),
    ...(sshConfig === undefined ? {} : { ssh_config: sshConfig }),
  };
}

/** As many as there may be. @throws ConfigurationError where there are too few */
export function limited(
  parallel: ParallelConfig,
  { max_groups: max, min_groups: min }: TopLevel['parallel'],
): ParallelConfig {
  const { service_groups: groups } = parallel;
  if (groups.length < min) {
    throw new ConfigurationError(
      `There are ${groups.length} groups, fewer than min_groups = ${min}`,
      {},
      { remedy: 'Give more hosts, or lower min_groups or --nodes-per-group.' },
    );
  }
  return groups.length <= max ? parallel : parallel.withGroups(groups.slice(0, max));
}

/** The groups: of the hosts given, of `[parallel]`, or this machine alone. */
export function parallelOf(
  top: TopLevel,
  { flags, hosts: given, document }: SettingsInput,
): { parallel: ParallelConfig; local: boolean } {
  const node = sshFlags(flags);
  const defaults = {
    ...startLimit(top),
    ...top.parallel.defaults,
    ...node,
  } as TopLevel['parallel']['defaults'];
  const { retry_count, retry_delay } = top.parallel;
  const evaluation_timeout = benchmarkLimit(top, document);
  const bounds = { evaluation_timeout, retry_count, retry_delay };
  const npus = flags.npusPerNode;
  const groups = top.parallel.service_groups;
  const hosts = given ?? (flags.simulate === true && groups.length === 0 ? imagined : undefined);
  if (hosts !== undefined) {
    const made = ParallelConfig.fromHosts(hosts.groups, {
      defaults,
      ...(npus === undefined ? {} : { npusPerNode: npus }),
    });
    return {
      parallel: new ParallelConfig({ enabled: true, service_groups: made.service_groups, ...bounds }),
      local: false,
    };
  }
  if (flags.parallel === true || top.parallel.enabled || usesSlurm(top.parallel, flags)) {
    if (groups.length === 0) {
      throw new ConfigurationError(
        'service_groups cannot be empty when parallel is enabled',
        {},
        {
          remedy:
            'Give --hostfile FILE or --node-string "n0,n1:n2,n3", or [[parallel.service_groups]] tables; inside an allocation of Slurm its nodes are taken.',
        },
      );
    }
    const devices = npus === undefined ? {} : { npu_ids: Array.from({ length: npus }, (_, id) => id) };
    const withFlags = groups.map((group) => ({
      ...group,
      nodes: group.nodes.map((one) => ({ ...one, ...node, ...devices })),
    }));
    const table = {
      ...top.parallel,
      ...bounds,
      enabled: true,
      defaults,
      service_groups: withFlags,
    } as TopLevel['parallel'];
    return { parallel: ParallelConfig.fromSettings(table), local: false };
  }
  const here = [{ groupId: 0, hosts: [{ host: '127.0.0.1' }] }];
  const made = ParallelConfig.fromHosts(here, {
    defaults,
    ...(npus === undefined ? {} : { npusPerNode: npus }),
  });
  return {
    parallel: new ParallelConfig({ enabled: true, service_groups: made.service_groups, ...bounds }),
    local: true,
  };
}
