import { abortable, never } from '../base/cancellation.ts';
import type { Channel, Transport } from './transport.ts';

/** Nothing that stands by for longer is trusted: a shell may end for want of input. */
const limitMs = 15_000;

interface Waiting {
  readonly script: string;
  readonly channel: Promise<Channel>;
  readonly timer: NodeJS.Timeout;
}

function letGo({ timer, channel }: Waiting): void {
  clearTimeout(timer);
  channel.then((opened) => opened.close()).catch(() => undefined);
}

/** One shell that is opened before it is needed: on a machine that is far away, or slow, that is most of a start. */
export class Standby {
  readonly #transport: Transport;
  #waiting: Waiting | undefined;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Never throws: whoever needs it then opens another one. */
  prepare(script: string): void {
    if (this.#waiting?.script === script) return;
    this.drop();
    const channel = this.#transport.open(script, never);
    channel.catch(() => undefined);
    this.#waiting = { script, channel, timer: setTimeout(() => this.drop(), limitMs).unref() };
  }

  /** The shell that waits with this script, or a new one. */
  async take(script: string, signal: AbortSignal): Promise<Channel> {
    const waiting = this.#waiting;
    if (waiting?.script !== script) return this.#transport.open(script, signal);
    this.#waiting = undefined;
    clearTimeout(waiting.timer);
    try {
      return await abortable(waiting.channel, signal);
    } catch {
      letGo(waiting);
      return this.#transport.open(script, signal);
    }
  }

  drop(): void {
    if (this.#waiting !== undefined) letGo(this.#waiting);
    this.#waiting = undefined;
  }
}
