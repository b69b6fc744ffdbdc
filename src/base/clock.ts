import { setTimeout as delay } from 'node:timers/promises';
import { ms, type Ms } from './units.ts';

/** Time comes in through this, so that a virtual clock can take its place. */
export interface Clock {
  /** Monotonic; only differences mean anything. */
  now(): Ms;
  /** For records and file names only. */
  wallTime(): Date;
  /** Rejects with `signal.reason` when aborted. */
  sleep(duration: Ms, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => ms(performance.now()),
  wallTime: () => new Date(),
  async sleep(duration, signal) {
    try {
      await delay(duration, undefined, { signal });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  },
};
