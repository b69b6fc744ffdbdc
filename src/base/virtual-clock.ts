import { setImmediate as turn, setTimeout as realDelay } from 'node:timers/promises';
import TinyQueue from 'tinyqueue';
import { broken } from './assert.ts';
import type { Clock } from './clock.ts';
import { ms, type Ms } from './units.ts';

interface Timer {
  readonly at: number;
  /** Of two timers for the same moment the one that was set first rings first. */
  readonly order: number;
  readonly ring: () => void;
  cancelled: boolean;
}

/** The epoch of virtual runs. */
const epoch = Date.UTC(2000, 0, 1);
/** How long to wait for real I/O, in ms, before a run in which everything waits is called stuck. */
const patience = 10_000;

/**
 * Time that passes as soon as everything waits for it. Deterministic as long as the work awaits nothing but this clock
 * between two timers; where no timer is set, real I/O is waited for.
 */
export class VirtualClock implements Clock {
  readonly #timers = new TinyQueue<Timer>([], (a, b) => a.at - b.at || a.order - b.order);
  #now = 0;
  #order = 0;

  now(): Ms {
    return ms(this.#now);
  }

  wallTime(): Date {
    return new Date(epoch + this.#now);
  }

  async sleep(duration: Ms, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    return new Promise<void>((resolve, reject) => {
      const stop = (): void => {
        timer.cancelled = true;
        reject(signal.reason as Error);
      };
      const ring = (): void => {
        signal.removeEventListener('abort', stop);
        resolve();
      };
      const at = this.#now + Math.max(0, duration);
      const timer: Timer = { at, order: this.#order++, ring, cancelled: false };
      signal.addEventListener('abort', stop, { once: true });
      this.#timers.push(timer);
    });
  }

  /** Lets time pass until the work is done. */
  async run<T>(work: Promise<T>): Promise<T> {
    let done = false as boolean;
    const end = (): void => {
      done = true;
    };
    work.then(end, end);
    for (let waited = 0; ;) {
      await turn();
      if (done) return work;
      const timer = this.#next();
      if (timer !== undefined) {
        this.#now = timer.at;
        timer.ring();
        waited = 0;
      } else if (waited++ < patience) await realDelay(1);
      else throw broken('everything waits, and no timer is set');
    }
  }

  #next(): Timer | undefined {
    let timer = this.#timers.pop();
    while (timer?.cancelled === true) timer = this.#timers.pop();
    return timer;
  }
}
