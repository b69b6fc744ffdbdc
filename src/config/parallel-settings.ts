import { ConfigurationError } from '../base/errors.ts';
import { ParallelConfig, type NodeOptions } from './parallel-config.ts';
import type { TopLevel } from './schema.ts';
import type { SettingsInput } from './settings.ts';

/** The groups: of the hosts given, of `[parallel]`, or this machine alone. */
export function parallelOf(
  top: TopLevel,
  { flags, hosts }: SettingsInput,
): { parallel: ParallelConfig; local: boolean } {
  const node: Partial<NodeOptions> = {
    ...(flags.identity === undefined ? {} : { identity_file: flags.identity }),
    ...(flags.user === undefined ? {} : { username: flags.user }),
    ...(flags.sshPort === undefined ? {} : { ssh_port: flags.sshPort }),
  };
  const defaults = { ...top.parallel.defaults, ...node } as TopLevel['parallel']['defaults'];
  const { evaluation_timeout, retry_count, retry_delay } = top.parallel;
  const bounds = { evaluation_timeout, retry_count, retry_delay };
  const npus = flags.npusPerNode;
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
  if (flags.parallel === true || top.parallel.enabled) {
    if (top.parallel.service_groups.length === 0) {
      throw new ConfigurationError(
        'service_groups cannot be empty when parallel is enabled',
        {},
        {
          remedy:
            'Give --hostfile FILE or --node-string "n0,n1:n2,n3", or [[parallel.service_groups]] tables.',
        },
      );
    }
    const groups = top.parallel.service_groups.map((group) => ({
      ...group,
      nodes: group.nodes.map((one) => ({ ...one, ...node })),
    }));
    const table = { ...top.parallel, enabled: true, service_groups: groups } as TopLevel['parallel'];
    return { parallel: ParallelConfig.fromSettings(table), local: false };
  }
  const here = [{ groupId: 0, hosts: ['127.0.0.1'] }];
  const made = ParallelConfig.fromHosts(here, {
    defaults,
    ...(npus === undefined ? {} : { npusPerNode: npus }),
  });
  return {
    parallel: new ParallelConfig({ enabled: true, service_groups: made.service_groups, ...bounds }),
    local: true,
  };
}
