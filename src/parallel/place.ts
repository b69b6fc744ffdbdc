import { SimulatorStopError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import type { GroupDependencies } from './group-dependencies.ts';
import type { LaunchPlan } from './ports.ts';

export interface Place {
  readonly host: string;
  readonly port: number;
}

/** Where the service of a plan answers. */
export const placeOf = ({ probe }: LaunchPlan): Place => placeIn(probe.url);

export function placeIn(url: string): Place {
  const { hostname, port, protocol } = new URL(url);
  const usual = protocol === 'https:' ? 443 : 80;
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? usual : Number(port) };
}

/** A process may be gone before its socket is. @throws SimulatorStopError where something goes on listening */
export async function untilFree(
  { host, port }: Place,
  { http, clock, engine }: Pick<GroupDependencies, 'http' | 'clock' | 'engine'>,
  signal: AbortSignal,
): Promise<void> {
  for (let pause = 5; await http.listens(host, port, signal); pause *= 2) {
    if (pause > 3000) {
      const reason = `its processes are gone, but something still listens on port ${port} of ${host}`;
      throw new SimulatorStopError(engine, undefined, reason);
    }
    await clock.sleep(ms(pause), signal);
  }
}
