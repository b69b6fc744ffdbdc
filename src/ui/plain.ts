import type { RunEvent } from '../base/events.ts';
import { formatDuration, ms } from '../base/units.ts';

function number(value: number | null, digits: number, unit: string): string {
  return value === null ? '–' : `${value.toFixed(digits)} ${unit}`;
}

function params(values: Readonly<Record<string, unknown>>): string {
  return Object.entries(values)
    .map(
      ([name, value]) =>
        `${name}=${typeof value === 'number' ? String(Number(value.toPrecision(6))) : String(value)}`,
    )
    .join(' ');
}

type Finished = Extract<RunEvent, { type: 'trial.finished' }>;

function finished(event: Finished): string {
  const head = `[${event.told}/${event.evaluations}] trial ${event.trialId}`;
  if (event.endedEarly)
    return `${head} on group ${event.groupId ?? '–'}: ended early, it could not win any more`;
  if (event.kind !== 'scored') return `${head}: ${event.kind}: ${event.error ?? ''}`;
  const where =
    event.reusedFrom === null ? ` on group ${event.groupId ?? '–'}` : `: as trial ${event.reusedFrom}`;
  const ms_ = (seconds: number | null): string => number(seconds === null ? null : seconds * 1000, 1, 'ms');
  const metrics = [
    number(event.generateSpeed, 1, 'tok/s'),
    `TTFT ${ms_(event.ttftSeconds)}`,
    `TPOT ${ms_(event.tpotSeconds)}`,
    `success ${number(event.successRate === null ? null : event.successRate * 100, 1, '%')}`,
  ];
  const verdict = event.isBest ? 'best so far' : event.feasible ? 'within SLOs' : 'outside SLOs';
  const load = event.load === null ? '' : ` at ${params(event.load)} (${event.loads} loads)`;
  return `${head}${where}: ${metrics.join(', ')}${load} – ${verdict}`;
}

function groupLine(
  event: Extract<RunEvent, { type: 'group.ready' | 'group.down' | 'group.recovered' }>,
): string {
  switch (event.type) {
    case 'group.ready':
      return `group ${event.groupId} ready (${event.hosts.join(', ')}) in ${formatDuration(ms(event.seconds * 1000))}`;
    case 'group.down':
      return `group ${event.groupId} ${event.circuit === 'open' ? 'is quarantined (circuit open)' : 'is being repaired'}: ${event.reason}`;
    case 'group.recovered':
      return `group ${event.groupId} is back`;
  }
}

function runLine(event: Extract<RunEvent, { type: `run.${string}` }>): string {
  switch (event.type) {
    case 'run.started':
      return `run ${event.runId}${event.resumed ? ' (resumed)' : ''}: ${event.evaluations} evaluations on ${event.groups} group(s), in ${event.directory}`;
    case 'run.paused':
      return event.paused ? 'paused: what runs goes on to its end, nothing new is begun' : 'going on';
    case 'run.stopping':
      return `stopping: ${event.reason}`;
    case 'run.ended':
      return `run ${event.runId}: ${event.status}`;
  }
}

function trialLine(event: Extract<RunEvent, { type: `trial.${string}` }>): string | undefined {
  switch (event.type) {
    case 'trial.started':
      return `trial ${event.trialId} on group ${event.groupId}: ${params(event.params)}`;
    case 'trial.phase':
    case 'trial.progress':
      return undefined;
    case 'trial.retry':
      return `trial ${event.trialId} failed on group ${event.groupId} and goes elsewhere in ${event.delaySeconds.toFixed(1)} s: ${event.reason}`;
    case 'trial.finished':
      return finished(event);
  }
}

/** One line for an event, or undefined where a line would be noise. */
export function plainLine(event: RunEvent): string | undefined {
  switch (event.type) {
    case 'note':
      return `note: ${event.text}`;
    case 'group.checked':
      return undefined;
    case 'group.ready':
    case 'group.down':
    case 'group.recovered':
      return groupLine(event);
    case 'run.started':
    case 'run.paused':
    case 'run.stopping':
    case 'run.ended':
      return runLine(event);
    default:
      return trialLine(event);
  }
}
