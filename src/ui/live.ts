import { createLogUpdate } from 'log-update';
import type { EventBus } from '../base/events.ts';
import { listenToKeys, type Keys } from './keys.ts';
import { render, viewTime } from './render.ts';
import { emptyView, reduce } from './view.ts';

const framePause = 200;

/** Whether a person looks at the stream who can be shown a picture that moves. */
export function isLive(
  stream: Pick<NodeJS.WriteStream, 'isTTY'>,
  env: Readonly<Record<string, string | undefined>>,
): boolean {
  const set = (name: string): boolean => env[name] !== undefined && env[name] !== '' && env[name] !== '0';
  return stream.isTTY && !set('CI') && !set('NO_COLOR') && env['TERM'] !== 'dumb';
}

/** What the keys of the view do to the run. */
export type RunKeys = Pick<Keys, 'onPause' | 'onStop'>;

/** Paints the run on a terminal while it goes on. Dispose to leave a clean screen. */
export function paintLive(events: EventBus, stream: NodeJS.WriteStream, keys: RunKeys): Disposable {
  const log = createLogUpdate(stream);
  let view = emptyView;
  const shown = { help: false, log: false, keys: process.stdin.isTTY };
  let height = 0;
  const paint = (): void => {
    const size = { columns: stream.columns || 80, rows: stream.rows || 24 };
    const frame = render(view, viewTime(), { ...size, ...shown });
    const lines = frame.split('\n').length;
    // log-update writes the lines that changed, and does not move those below them to another place.
    if (lines !== height) log.clear();
    height = lines;
    log(frame);
  };
  const toggle = (what: 'help' | 'log') => (): void => {
    shown[what] = !shown[what];
    paint();
  };
  events.subscribe((event) => {
    view = reduce(view, event, viewTime());
  });
  const timer = setInterval(paint, framePause);
  // What was painted has been wrapped anew by then and cannot be found again: begin on a free screen.
  const onResize = (): void => {
    log.clear();
    stream.write('\u001B[2J\u001B[H');
    paint();
  };
  stream.on('resize', onResize);
  const listening = listenToKeys(process.stdin, {
    ...keys,
    onLog: toggle('log'),
    onHelp: toggle('help'),
  });
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      listening[Symbol.dispose]();
      stream.off('resize', onResize);
      log.clear();
      log.done();
    },
  };
}
