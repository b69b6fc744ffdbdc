import type { Command, Owner, Runtime } from '../parallel/ports.ts';
import { controllerIdentity } from '../base/process-start.ts';
import { census, counter, dismissal, reaper, reaping, shell } from './scripts.ts';

/** Ends with a dot, so that no token is the beginning of another one. */
export function tokenOf({ runId, groupId, rank }: Owner): string {
  return `${runId}/g${groupId}/r${rank}.`;
}

/** Processes straight on the machine, owned by a token in their environment. */
export const hostRuntime: Runtime = {
  name: 'host',
  token: tokenOf,
  wrap(command: Command, owner: Owner): Command {
    const env = {
      ...command.env,
      OPTIMIZER_RUN_ID: owner.runId,
      OPTIMIZER_GROUP: String(owner.groupId),
      OPTIMIZER_TOKEN: tokenOf(owner),
      OPTIMIZER_CONTROLLER: controllerIdentity(),
    };
    return { ...command, env };
  },
  wrapOnHost: (command, owner) => hostRuntime.wrap(command, owner),
  reap: (token, grace, known) => reaping(reaper(token, grace), known, 'ending owned processes'),
  dismiss: (token) => shell(dismissal(token), 'sending guardians away'),
  census: () => shell(census, 'looking for processes of runs'),
  count: (token) => shell(counter(token), 'counting owned processes'),
};
