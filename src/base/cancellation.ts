import { setMaxListeners } from 'node:events';
import type { Clock } from './clock.ts';
import { ms, type Ms } from './units.ts';

/** A controller that follows its parents; dispose it to let go of them. */
export interface ChildController extends Disposable {
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
}

/** Use instead of `AbortSignal.any` per call: long-lived parents would collect one listener a call. */
export function childController(...parents: readonly AbortSignal[]): ChildController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // as many waits as there are groups hang on one
  const release: (() => void)[] = [];
  const dispose = (): void => {
    for (const undo of release.splice(0)) undo();
  };
  for (const parent of parents) {
    if (parent.aborted) {
      controller.abort(parent.reason);
      break;
    }
    const follow = (): void => controller.abort(parent.reason);
    parent.addEventListener('abort', follow, { once: true });
    release.push(() => parent.removeEventListener('abort', follow));
  }
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    [Symbol.dispose]: dispose,
  };
}

/** Waits for the work or the abort, whichever is first. The work itself goes on: only for work that owns nothing. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  work.catch(() => undefined); // when the abort came first nobody else hears of its failure
  signal.throwIfAborted();
  return await new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Why a wait is over that nobody waits for: an abort without a reason makes an exception with a stack, each time. */
export const overtaken: Error = new Error('nobody waits for this any more');

/** Aborts with `reason()` when the time is over by the clock; disposing disarms it. */
export function deadline(
  clock: Clock,
  duration: Ms,
  reason: () => Error,
  ...parents: AbortSignal[]
): ChildController {
  const child = childController(...parents);
  const armed = new AbortController();
  const limit = ms(Math.min(duration, 2 ** 31 - 1)); // longer timers fire at once in Node
  clock.sleep(limit, armed.signal).then(
    () => child.abort(reason()),
    () => undefined, // disarmed
  );
  return {
    signal: child.signal,
    abort: (why) => child.abort(why),
    [Symbol.dispose]: () => {
      armed.abort(overtaken);
      child[Symbol.dispose]();
    },
  };
}

export const never: AbortSignal = childController().signal;

/** Runs everything to its end, then throws the first failure: for work that owns remote processes. */
export async function settleAll<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const outcomes = await Promise.allSettled(work);
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed) throw failed.reason;
  return outcomes.map((outcome) => (outcome as PromiseFulfilledResult<T>).value);
}
