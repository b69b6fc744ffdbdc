import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { ConfigurationError } from '../base/errors.ts';
import { processStart } from '../base/process-start.ts';

interface Holder {
  readonly pid: number;
  readonly started: string | undefined;
  readonly host: string;
  readonly user: string;
  readonly at: string;
}

function holderOf(path: string): Holder | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}

/** A lock of a process that is gone counts as none; one from another machine is believed. */
function lives(holder: Holder): boolean {
  return holder.host !== hostname() || processStart(holder.pid) === holder.started;
}

/** Whether a process writes the run now. */
export function isWritten(path: string): boolean {
  const holder = holderOf(path);
  return holder !== undefined && lives(holder);
}

/** One writer a run. Dispose to unlock. @throws ConfigurationError naming the holder */
export function lockRun(path: string, now: Date): Disposable {
  const me: Holder = {
    pid: process.pid,
    started: processStart(process.pid),
    host: hostname(),
    user: userInfo().username,
    at: now.toISOString(),
  };
  for (;;) {
    try {
      writeFileSync(path, `${JSON.stringify(me)}\n`, { flag: 'wx', mode: 0o600 });
      return { [Symbol.dispose]: () => rmSync(path, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = holderOf(path);
    if (holder !== undefined && lives(holder)) {
      const { pid, user, host, at } = holder;
      throw new ConfigurationError(
        `This run is being written by process ${pid} of ${user}@${host} since ${at}`,
        {},
        {
          remedy: `Wait for it or stop it; if it is gone, remove ${path}.`,
        },
      );
    }
    rmSync(path, { force: true });
  }
}
