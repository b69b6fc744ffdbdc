import type { Clock } from '../base/clock.ts';
import { ms, type GroupId, type Ms } from '../base/units.ts';
import {
  closedCircuit,
  fail,
  halfOpen,
  settle,
  succeed,
  type Circuit,
} from '../core/resilience/circuit-breaker.ts';
import type { CircuitPolicy } from '../core/resilience/circuit-breaker.ts';
import type { JournalEntry } from './records.ts';

/** The circuit that an entry says to be there, where counting alone does not lead to it: repairs count as well. */
function told(circuit: Circuit, state: Circuit['state'], at: Ms): Circuit {
  if (state === circuit.state) return circuit;
  const { failures } = circuit;
  if (state === 'open') return { state, failures, openedAt: at };
  return state === 'half_open' ? halfOpen(circuit) : closedCircuit;
}

/** How the circuits of the groups stand at the end of a journal; open ones cool down by the time of day. */
export function circuitsOf(
  entries: readonly JournalEntry[],
  clock: Pick<Clock, 'now' | 'wallTime'>,
  policy: CircuitPolicy,
): Map<GroupId, Circuit> {
  const circuits = new Map<GroupId, Circuit>();
  const now = clock.now();
  const today = clock.wallTime().getTime();
  const change = (group: GroupId, next: (circuit: Circuit) => Circuit, at: Ms): void => {
    const circuit = settle(circuits.get(group) ?? closedCircuit, at, policy);
    circuits.set(group, next(circuit));
  };
  for (const entry of entries) {
    // A clock that was put back must not keep a group out for longer than the cool-down.
    const at = ms(Math.min(now, now - (today - Date.parse(entry.at)) || now));
    if (entry.type === 'circuit') change(entry.group_id, (circuit) => told(circuit, entry.state, at), at);
    if (entry.type === 'attempt-failed' && entry.error.blame === 'node') {
      change(entry.group_id, (circuit) => fail(circuit, at, policy), at);
    }
    if (entry.type !== 'told' || entry.record.verdict.kind !== 'scored') continue;
    const { group_id: group, reused_from: reused } = entry.record;
    if (group !== null && reused === null) change(group, (circuit) => succeed(circuit, policy), at);
  }
  return circuits;
}
