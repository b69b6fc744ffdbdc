import type { GroupId } from '../../base/units.ts';

/** A failure of a configuration that was blamed on a group's machines. */
export interface NodeFailure {
  readonly groupId: GroupId;
  /** How many configurations the group had scored by then. */
  readonly scoredBefore: number;
}

/**
 * Whether the configuration is at fault after all: it failed on two groups, and both have scored another one since,
 * so their machines are healthy.
 */
export function isConvicted(
  failures: readonly NodeFailure[],
  scoredNow: (group: GroupId) => number,
): boolean {
  const healthy = failures.filter(({ groupId, scoredBefore }) => scoredNow(groupId) > scoredBefore);
  return new Set(healthy.map(({ groupId }) => groupId)).size >= 2;
}
