import { controllerLives } from '../base/process-start.ts';

/** A process of a run of ours that was found on a node. */
export interface OwnedFound {
  readonly host: string;
  /** Of a container: its id. */
  readonly pid: number | string;
  readonly run: string;
  readonly group: string;
  readonly token: string;
  readonly controller: string;
  readonly name: string;
  /** One of a kind for a running machine: several hosts may lead to the same. */
  readonly boot: string;
}

/** The lines of `Runtime.census`. */
export function parseCensus(host: string, stdout: string): OwnedFound[] {
  return stdout
    .split('\n')
    .filter((line) => line.includes('|'))
    .map((line) => {
      const [pid = '', run = '', group = '', token = '', controller = '', name = '', boot = ''] =
        line.split('|');
      return { host, pid: /^\d+$/.test(pid) ? Number(pid) : pid, run, group, token, controller, name, boot };
    });
}

/** Tokens of the guardians that a census found. */
export const guardedIn = (stdout: string): ReadonlySet<string> =>
  new Set([...stdout.matchAll(/^guardian (\S+)$/gm)].flatMap(([, token]) => token ?? []));

/** Left by an optimizer of this machine that is gone. */
export const isOrphan = ({ controller }: OwnedFound): boolean => controllerLives(controller) === false;
