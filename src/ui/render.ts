import { ms, type Ms } from '../base/units.ts';
import { secondsLeft, type GroupView, type View } from './view.ts';

/** The live view as lines of text; pure. */

export interface Screen {
  readonly columns: number;
  readonly rows: number;
}

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

function groupLine(id: number, group: GroupView, now: Ms): string {
  const name = `group ${id}`.padEnd(10);
  const since = (at: Ms): string => clockText((now - at) / 1000);
  switch (group.state) {
    case 'idle':
      return `${name}idle`;
    case 'busy':
      return `${name}trial ${String(group.trialId).padEnd(5)}${phases[group.phase].padEnd(10)}${since(group.since)}`;
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
  return `best      trial ${best.trialId}: ${best.generateSpeed.toFixed(1)} tok/s, TTFT ${milliseconds(best.ttftSeconds)}, TPOT ${milliseconds(best.tpotSeconds)}${against}`;
}

function head(view: View, now: Ms, columns: number): string[] {
  const left = secondsLeft(view);
  const elapsed = clockText((now - view.startedAt) / 1000);
  const eta = left === undefined ? '' : `, about ${clockText(left)} left`;
  const counts = ` ${view.told}/${view.evaluations}  ${view.measured} measured, ${view.infeasible} infeasible, ${view.failed} failed`;
  const width = Math.max(10, Math.min(40, columns - counts.length - 1));
  const share = view.evaluations === 0 ? 0 : view.told / view.evaluations;
  return [
    `run ${view.runId}  ${elapsed}${eta}`,
    `${bar(share, width)}${counts}`,
    bestLine(view),
    ...(view.stopping === undefined ? [] : [`stopping: ${view.stopping}`]),
  ];
}

/** At most as many lines as the screen has, each as wide as it is at most. */
export function render(view: View, now: Ms, { columns, rows }: Screen): string {
  const top = head(view, now, columns);
  const groups = [...view.groups].sort(([a], [b]) => a - b);
  const room = Math.max(3, rows - 1);
  const shown = groups.slice(0, Math.max(1, Math.min(groups.length, room - top.length - 4)));
  const hidden = groups.length - shown.length;
  const middle = [
    ...shown.map(([id, group]) => groupLine(id, group, now)),
    ...(hidden > 0 ? [`          and ${hidden} more groups`] : []),
  ];
  const rest = room - top.length - middle.length - 1;
  const events = rest > 0 ? view.lines.slice(-Math.min(rest, 16)) : [];
  const lines = [...top, ...middle, ...(events.length > 0 ? ['', ...events] : [])];
  return lines
    .slice(0, room)
    .map((line) => cut(line.replaceAll('\n', ' '), columns))
    .join('\n');
}

/** The view's own time: it shows elapsed times, and nothing else depends on it. */
export const viewTime = (): Ms => ms(performance.now());
