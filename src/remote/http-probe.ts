import { connect } from 'node:net';
import { request, type Dispatcher } from 'undici';
import { deadline } from '../base/cancellation.ts';
import { systemClock } from '../base/clock.ts';
import { CommunicationError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import type { HttpProbe } from '../parallel/ports.ts';

const patience = ms(10_000);

/** undefined where nobody answers in time. @throws when aborted */
async function answer<T>(
  url: string,
  signal: AbortSignal,
  read: (response: Dispatcher.ResponseData) => Promise<T>,
): Promise<T | undefined> {
  const late = (): Error => new CommunicationError(`${url} did not answer`);
  using bounded = deadline(systemClock, patience, late, signal);
  try {
    return await read(await request(url, { signal: bounded.signal, reset: true }));
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

export const httpProbe: HttpProbe = {
  status: async (url, signal) =>
    answer(url, signal, async ({ statusCode, body }) => {
      await body.dump();
      return statusCode;
    }),

  text: async (url, signal) =>
    answer(url, signal, async ({ statusCode, body }) => {
      const text = await body.text();
      return statusCode === 200 ? text : undefined;
    }),

  async listens(host, port, signal) {
    signal.throwIfAborted();
    return new Promise<boolean>((resolve) => {
      const socket = connect({ host, port, timeout: 3000 });
      const settle = (listens: boolean) => (): void => {
        socket.destroy();
        resolve(listens);
      };
      socket.on('connect', settle(true));
      socket.on('error', settle(false));
      socket.on('timeout', settle(false));
      signal.addEventListener('abort', settle(false), { once: true });
      socket.on('close', () => signal.removeEventListener('abort', settle(false)));
    });
  },
};
