import type { Clock } from '../base/clock.ts';
import { CommunicationError, type ModelEvalStateError } from '../base/errors.ts';
import { ms, toSeconds, type Ms } from '../base/units.ts';
import { CircuitBreaker, circuitPolicy, type Circuit } from '../core/resilience/circuit-breaker.ts';
import type { ServiceGroup } from './service-group.ts';

/** A group as the pool sees it. */
export interface Member {
  readonly group: ServiceGroup;
  breaker: CircuitBreaker;
  busy: boolean;
  /** Quarantined: being repaired, with the reason. */
  down: ModelEvalStateError | undefined;
  shown: Circuit['state'];
  freeSince: number;
  /** Used where no other one can be. */
  isReserve: boolean;
  /** Gets no more trials, and is closed after the one that it has. */
  isLeaving: boolean;
}

export const newMember = (group: ServiceGroup, clock: Clock): Member => ({
  group,
  breaker: new CircuitBreaker(() => clock.now(), circuitPolicy),
  busy: false,
  down: undefined,
  shown: 'closed',
  freeSince: 0,
  isReserve: false,
  isLeaving: false,
});

/** A group that was told to leave while it was being connected lets go of its machines. */
export async function closed({ isLeaving, group }: Member): Promise<boolean> {
  if (isLeaving) await group[Symbol.asyncDispose]();
  return isLeaving;
}

const firstRepairPause = 50;
const longestRepairPause = 30_000;

export function repairPause({ breaker }: Member, attempt: number): Ms {
  const backOff = Math.min(longestRepairPause, firstRepairPause * 2 ** (attempt - 1));
  return ms(Math.max(backOff, breaker.coolDownLeft));
}

/** Those that trials may be on; the reserve where there is no other one. */
export function inUse(members: readonly Member[], can: (member: Member) => boolean): Member[] {
  const able = members.filter((member) => !member.isLeaving && can(member));
  const first = able.filter(({ isReserve }) => !isReserve);
  return first.length > 0 ? first : able;
}

const reasons = (members: readonly Member[]): string[] =>
  members.map(({ group, down }) => `group ${group.id}: ${down?.message ?? 'circuit open'}`);

/** What is waited for while no trial can run. */
export function waitingText(members: readonly Member[], limit: Ms): string {
  return members.length === 0
    ? 'no group is left: waiting for one to join (optimizer scale --add)'
    : `all groups are down; waiting up to ${toSeconds(limit)} s for one to come back: ${reasons(members).join('; ')}`;
}

export function allDown(members: readonly Member[], waited: Ms): CommunicationError {
  const why = members.length === 0 ? ['there are no groups any more'] : reasons(members);
  return new CommunicationError(
    `All groups are down, for ${toSeconds(waited)} s:\n  ${why.join('\n  ')}`,
    {},
    {
      blame: 'operator',
      remedy: 'Repair a group, then go on with `optimizer resume`; everything measured is kept.',
    },
  );
}
