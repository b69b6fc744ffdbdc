import { createServer, type AddressInfo, type Server } from 'node:net';
import { pipeline, type Duplex } from 'node:stream';
import { deferred } from '../base/condition.ts';
import { CommunicationError } from '../base/errors.ts';
import type { Forwarding } from '../parallel/ports.ts';

/** Opens a stream to a place that the machine can reach. */
export type Dial = (host: string, port: number, signal: AbortSignal) => Promise<Duplex>;

/** Ports of this machine that lead through a connection to a node; they are closed with it. */
export class PortForwarding implements Forwarding {
  readonly isOnlyWay: boolean;
  readonly #dial: Dial;
  readonly #lost: AbortSignal;
  readonly #open = new Map<string, Promise<number>>();
  readonly #servers = new Set<Server>();

  constructor(dial: Dial, lost: AbortSignal, isOnlyWay: boolean) {
    this.#dial = dial;
    this.#lost = lost;
    this.isOnlyWay = isOnlyWay;
    lost.addEventListener('abort', () => this.close(), { once: true });
  }

  async reaches(host: string, port: number, signal: AbortSignal): Promise<boolean> {
    try {
      (await this.#dial(host, port, signal)).destroy();
      return true;
    } catch {
      signal.throwIfAborted();
      return false;
    }
  }

  async port(host: string, port: number): Promise<number> {
    const key = `${host} ${port}`;
    let open = this.#open.get(key);
    if (open === undefined) {
      open = this.#listen(host, port);
      this.#open.set(key, open);
    }
    return open;
  }

  close(): void {
    for (const server of this.#servers) server.close();
    this.#servers.clear();
    this.#open.clear();
  }

  async #listen(host: string, port: number): Promise<number> {
    this.#lost.throwIfAborted();
    const listening = deferred<number>();
    const server = createServer((socket) => {
      socket.setNoDelay(true);
      this.#dial(host, port, this.#lost).then(
        (stream) => {
          // Either end takes the other one with it; what went wrong is seen by who speaks.
          pipeline(socket, stream, socket, () => {
            socket.destroy();
            stream.destroy();
          });
        },
        () => socket.destroy(),
      );
    });
    this.#servers.add(server);
    server.on('error', (cause) => {
      const message = `Cannot open a port on this machine: ${cause.message}`;
      listening.reject(
        new CommunicationError(message, {}, { cause, remedy: 'Raise the limit of open files (ulimit -n).' }),
      );
    });
    server.listen(0, '127.0.0.1', () => listening.resolve((server.address() as AddressInfo).port));
    server.unref();
    return listening.promise;
  }
}
