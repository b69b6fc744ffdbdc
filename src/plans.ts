import { settleAll } from './base/cancellation.ts';
import { ConfigurationError } from './base/errors.ts';
import { trialId } from './base/units.ts';
import type { Settings } from './config/settings.ts';
import type { Engine, LaunchPlan } from './parallel/ports.ts';
import type { ServiceGroup } from './parallel/service-group.ts';

/** What is found out about the plans of groups before anything is started. */

/** @throws ConfigurationError where a group cannot be planned, or two would answer at the same place */
export function checkPlans(settings: Settings, engine: Engine, groups: readonly ServiceGroup[]): void {
  const owners = new Map<string, number>();
  for (const group of groups) {
    const { probe } = engine.plan(settings.engineConfig, settings.space.current, group.topology(trialId(0)));
    const other = owners.get(probe.url);
    if (other !== undefined) {
      throw new ConfigurationError(
        `Groups ${other} and ${group.id} would both answer at ${probe.url}`,
        {},
        { remedy: 'Give each group on a host a port of its own in its health_check_url.' },
      );
    }
    owners.set(probe.url, group.id);
  }
}

/** Before anything is asked: a port that is taken now is for the user to free, not for a retry. */
export async function refuseForeignServices(
  settings: Settings,
  engine: Engine,
  groups: readonly ServiceGroup[],
  signal: AbortSignal,
): Promise<void> {
  const plan = (group: ServiceGroup): LaunchPlan =>
    engine.plan(settings.engineConfig, settings.space.current, group.topology(trialId(0)));
  const connected = groups.filter((group) => group.connected);
  await settleAll(
    connected.map(async (group) => group.refuseForeignService(plan(group), 'operator', signal)),
  );
}
