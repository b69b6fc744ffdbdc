import { ms, type Ms } from '../base/units.ts';
import { secondsLeft, type GroupView, type View } from './view.ts';

/** The live view as lines of text; pure. */

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  /** Whether keys are listened to. */
  readonly keys?: boolean;
  readonly help?: boolean;
  /** Events in place of the groups. */
  readonly log?: boolean;
}

/** What the keys do; shown where there are keys. */
const help = [
  'p  pause: what runs goes on to its end, nothing new is begun; p again goes on',
  'q  stop: end what runs and save; `optimizer resume` goes on from there',
  'l  events in place of the groups, and back',
  '?  this help, and back',
];

/** `0:42`, `12:05`, `3:07:09`. */
export function clockText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number): string => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function bar(share: number, width: number): string {
  const full = Math.round(Math.min(1, share) * width);
  return '█'.repeat(full) + '░'.repeat(width - full);
}

const cut = (line: string, columns: number): string =>
  line.length <= columns ? line : `${line.slice(0, Math.max(0, columns - 1))}…`;

const phases = { waiting: 'preparing', start: 'starting', benchmark: 'benchmark', stop: 'stopping' } as const;

const blocks = '▁▂▃▄▅▆▇█';

/** The newest values as a line of blocks, least to most. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = width <= 0 ? [] : values.slice(-width);
  const [least, most] = [Math.min(...shown), Math.max(...shown)];
  const block = (value: number): string =>
    blocks[most === least ? 3 : Math.round(((value - least) / (most - least)) * (blocks.length - 1))] ?? '';
  return shown.map(block).join('');
}

function phaseText({ phase, requests }: Extract<GroupView, { state: 'busy' }>): string {
  if (phase !== 'benchmark' || requests === undefined) return phases[phase].padEnd(10);
  const { done, total, perSecond } = requests;
  const rate = perSecond > 0 ? `, ${perSecond.toFixed(1)} req/s` : '';
  return `benchmark ${done}/${total} requests${rate}  `;
}

function groupLine(id: number, group: GroupView, now: Ms): string {
  const name = `group ${id}`.padEnd(10);
  const since = (at: Ms): string => clockText((now - at) / 1000);
  switch (group.state) {
    case 'idle':
      return `${name}idle`;
    case 'busy':
      return `${name}trial ${String(group.trialId).padEnd(5)}${phaseText(group)}${since(group.since)}`;
    case 'down':
      return `${name}${group.quarantined ? 'quarantined' : 'repairing'} ${since(group.since)}: ${group.reason}`;
  }
}

function milliseconds(seconds: number | null): string {
  return seconds === null ? '–' : `${(seconds * 1000).toFixed(1)} ms`;
}

function bestLine({ best, baseline }: View): string {
  if (best === undefined) return 'best      none within the SLOs yet';
  const against =
    baseline === undefined || best.trialId === baseline.trialId
      ? ''
      : `, ${(best.generateSpeed / baseline.generateSpeed).toFixed(2)} × baseline`;
  // What decides stands first: a narrow screen cuts the end off.
  const spare =
    best.spare === null ? '' : `, ${(100 * best.spare.share).toFixed(0)} % to spare in ${best.spare.slo}`;
  return `best      trial ${best.trialId}: ${best.generateSpeed.toFixed(1)} tok/s${against}${spare}, TTFT ${milliseconds(best.ttftSeconds)}, TPOT ${milliseconds(best.tpotSeconds)}`;
}

function head(view: View, now: Ms, columns: number, keys?: boolean): string[] {
  const left = secondsLeft(view, now);
  const elapsed = clockText((now - view.startedAt) / 1000);
  const eta = left === undefined ? '' : `, about ${clockText(left)} left`;
  const counts = ` ${view.told}/${view.evaluations}  ${view.measured} measured, ${view.infeasible} infeasible, ${view.failed} failed, ${view.running.size} running`;
  const width = Math.max(10, Math.min(40, columns - counts.length - 1));
  const share = view.evaluations === 0 ? 0 : view.told / view.evaluations;
  return [
    `run ${view.runId}  ${elapsed}${eta}${view.paused ? '  PAUSED (p goes on)' : ''}${keys === true ? '  (? help)' : ''}`,
    `${bar(share, width)}${counts}`,
    bestLine(view),
    ...(view.bests.length < 2 ? [] : [`          ${sparkline(view.bests, columns - 11)}`]),
    ...(view.stopping === undefined ? [] : [`stopping: ${view.stopping}`]),
  ];
}

/** At most as many lines as the screen has, each as wide as it is at most. */
export function render(view: View, now: Ms, { columns, rows, keys, help: isHelp, log }: Screen): string {
  const top = head(view, now, columns, keys);
  const groups = [...view.groups].sort(([a], [b]) => a - b);
  const room = Math.max(3, rows - 1);
  const most = log === true ? 0 : Math.max(1, Math.min(groups.length, room - top.length - 4));
  const shown = groups.slice(0, most);
  const hidden = groups.length - shown.length;
  const middle = [
    ...shown.map(([id, group]) => groupLine(id, group, now)),
    ...(hidden > 0 && log !== true ? [`          and ${hidden} more groups`] : []),
    ...(isHelp === true ? ['', ...help] : []),
  ];
  const rest = room - top.length - middle.length - 1;
  const events = rest > 0 ? view.lines.slice(-Math.min(rest, log === true ? rest : 16)) : [];
  const lines = [...top, ...middle, ...(events.length > 0 ? ['', ...events] : [])];
  return lines
    .slice(0, room)
    .map((line) => cut(line.replaceAll('\n', ' '), columns))
    .join('\n');
}

/** The view's own time: it shows elapsed times, and nothing else depends on it. */
export const viewTime = (): Ms => ms(performance.now());
