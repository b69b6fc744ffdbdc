import { childController } from '../base/cancellation.ts';
import { exitCodes } from './outcome.ts';

/** Why what was under way has ended: the user said so. */
export class Interrupted extends Error {}

/**
 * SIGINT, SIGTERM and SIGHUP stop everything and save; a second one ends this process at once.
 * Dispose to let go of the signals.
 */
export function stopOnSignals(
  onFirst: (signal: string) => void,
): { readonly signal: AbortSignal } & Disposable {
  const controller = childController();
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const listener = (name: string): void => {
    if (controller.signal.aborted) {
      process.stderr.write('stopped at once; if services still run, `optimizer clean` ends them\n');
      process.exit(exitCodes.interrupted);
    }
    onFirst(name);
    controller.abort(new Interrupted(`interrupted by ${name}`));
  };
  for (const name of names) process.on(name, listener);
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of names) process.off(name, listener);
    },
  };
}
