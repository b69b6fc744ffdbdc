import { connect } from 'node:net';
import { request } from 'undici';
import { deadline } from '../base/cancellation.ts';
import { systemClock } from '../base/clock.ts';
import { CommunicationError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import type { HttpProbe } from '../parallel/ports.ts';

const patience = ms(10_000);

export const httpProbe: HttpProbe = {
  async status(url, signal) {
    using bounded = deadline(
      systemClock,
      patience,
      () => new CommunicationError(`${url} did not answer`),
      signal,
    );
    try {
      const { statusCode, body } = await request(url, { signal: bounded.signal, reset: true });
      await body.dump();
      return statusCode;
    } catch {
      signal.throwIfAborted();
      return undefined;
    }
  },

  async text(url, signal) {
    using bounded = deadline(
      systemClock,
      patience,
      () => new CommunicationError(`${url} did not answer`),
      signal,
    );
    try {
      const { statusCode, body } = await request(url, { signal: bounded.signal, reset: true });
      const text = await body.text();
      return statusCode === 200 ? text : undefined;
    } catch {
      signal.throwIfAborted();
      return undefined;
    }
  },

  async listens(host, port, signal) {
    signal.throwIfAborted();
    return new Promise<boolean>((resolve) => {
      const socket = connect({ host, port, timeout: 3000 });
      const answer = (listens: boolean) => (): void => {
        socket.destroy();
        resolve(listens);
      };
      socket.on('connect', answer(true));
      socket.on('error', answer(false));
      socket.on('timeout', answer(false));
      signal.addEventListener('abort', answer(false), { once: true });
      socket.on('close', () => signal.removeEventListener('abort', answer(false)));
    });
  },
};
