import { abortable } from './cancellation.ts';

export interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

/** Node 20 has no Promise.withResolvers; delete when engines.node >= 22. */
export function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

/** Something to wait for that happens again and again. */
export class Condition {
  #next = deferred<undefined>();

  notify(): void {
    const current = this.#next;
    this.#next = deferred();
    current.resolve(undefined);
  }

  async wait(signal: AbortSignal): Promise<void> {
    await abortable(this.#next.promise, signal);
  }
}
