import type { ServingParams } from '../core/space/field.ts';
import { paramsKey } from '../core/space/space.ts';
import type { TrialRecord } from './records.ts';

/** Fields whose values are not chosen but found by measuring, while the swarm searches. */
export interface FoundLoads {
  readonly names: readonly string[];
  /** The load of the present configuration is searched as well, not only run as it is. */
  readonly ofPresent: boolean;
}

/**
 * Equal for what would be measured alike: configuration and load, however the load is found. A load that is found tells
 * nothing apart, but is another one than a load that was chosen.
 */
export function measurementKey(
  { trial_id: id, params, refines }: Pick<TrialRecord, 'trial_id' | 'params' | 'refines'>,
  found: FoundLoads | undefined,
): string {
  // Refined configurations have the load that they name.
  if (found === undefined || (id === 0 && !found.ofPresent) || refines !== undefined)
    return paramsKey(params);
  const loads: ServingParams = Object.fromEntries(found.names.map((name) => [name, 0]));
  return `found ${paramsKey({ ...params, ...loads })}`;
}
