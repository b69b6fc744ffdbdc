import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';

/** When a process of this machine began, in clock ticks since boot; with its pid it is one of a kind. */
export function processStart(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** This process as no other one will ever be called: `host:pid:start`. */
export const controllerIdentity = (): string =>
  `${hostname()}:${process.pid}:${processStart(process.pid) ?? ''}`;

/**
 * Whether the optimizer that `host:pid:start` names still runs. One on another machine cannot be looked at from
 * here: undefined.
 */
export function controllerLives(controller: string): boolean | undefined {
  const [host, pid, start] = controller.split(':');
  if (host !== hostname()) return undefined;
  return start !== '' && processStart(Number(pid)) === start;
}
