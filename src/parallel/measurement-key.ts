import { paramsKey } from '../core/space/space.ts';
import type { TrialRecord } from './records.ts';

/**
 * Equal for what would be measured alike: configuration and load, however the load is found.
 *
 * @param foundRate the field whose value measuring finds while the swarm searches: there it tells nothing apart, but
 *   is another load than one that was chosen
 */
export function measurementKey(
  { trial_id: id, params, refines }: Pick<TrialRecord, 'trial_id' | 'params' | 'refines'>,
  foundRate: string | undefined,
): string {
  // The present configuration and the refined ones have the load that they name.
  if (foundRate === undefined || id === 0 || refines !== undefined) return paramsKey(params);
  return `found ${paramsKey({ ...params, [foundRate]: 0 })}`;
}
