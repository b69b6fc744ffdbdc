import { need } from './base/assert.ts';
import { ConfigurationError } from './base/errors.ts';
import { groupId, type GroupId } from './base/units.ts';
import type { HostEntry } from './config/host-syntax.ts';
import type { ServiceGroupConfig } from './config/parallel-config.ts';
import { resolveSettings, type Settings, type SettingsInput } from './config/settings.ts';
import type { Registry } from './config/validate.ts';
import type { JournalEntry } from './parallel/records.ts';
import type { ServiceGroup } from './parallel/service-group.ts';
import type { FileRunStore } from './runs/run-store.ts';
import type { EventSink } from './base/events.ts';
import { Scaling } from './scaling.ts';
import type { Wired } from './wiring.ts';

/** Which groups a run has, from one session to the next and while it goes on. */

interface Sources {
  readonly settings: Settings;
  readonly input: SettingsInput;
}

/** As a group of the configuration would be made of these hosts. */
function configOf(
  { input }: Sources,
  registry: Registry,
  id: GroupId,
  hosts: readonly HostEntry[],
): ServiceGroupConfig {
  const groups = [{ groupId: id, hosts }];
  const { parallel } = resolveSettings({ ...input, hosts: { groups, warnings: [] } }, registry);
  const [group, ...more] = parallel.service_groups;
  if (more.length > 0) {
    throw new ConfigurationError(
      'with groups_per_node no hosts join a run that is under way',
      {},
      { remedy: 'Start a new run with all hosts; --from this one begins with what it knows.' },
    );
  }
  return need(group, 'group');
}

/** The settings with the groups that joined and without those that left in earlier sessions of the run. */
export function withFleet(sources: Sources, entries: readonly JournalEntry[], registry: Registry): Settings {
  const { settings } = sources;
  const scaled = entries.filter((entry) => entry.type === 'scaled');
  // Another allocation of Slurm has other nodes.
  if (scaled.length === 0 || settings.slurmJob !== undefined) return settings;
  const groups = new Map(settings.parallel.service_groups.map((group) => [groupId(group.group_id), group]));
  for (const { added, left } of scaled) {
    for (const { group_id: id, hosts } of added) groups.set(id, configOf(sources, registry, id, hosts));
    for (const id of left) groups.delete(id);
  }
  if (groups.size === 0) {
    throw new ConfigurationError(
      'All groups have left this run',
      {},
      { remedy: 'Start a new run with other hosts; --from this one begins with what it knows.' },
    );
  }
  return {
    ...settings,
    parallel: settings.parallel.withGroups([...groups.values()]),
  };
}

/** Lets groups come and go; undefined where there are no machines. */
export function scalingOf(
  sources: Sources & { readonly events: EventSink },
  { pool, groups, create }: Wired,
  store: FileRunStore,
  { registry, check }: { registry: Registry; check: (groups: readonly ServiceGroup[]) => void },
): Scaling | undefined {
  const { settings, input, events } = sources;
  if (settings.simulation !== undefined || settings.local) return undefined;
  return new Scaling({
    ...{ pool, store, events, create, check, groups },
    directory: store.paths.directory,
    hostfile: input.hostfile,
    limits: settings.groupLimits,
    configOf: (id, hosts) => configOf(sources, registry, id, hosts),
  });
}
