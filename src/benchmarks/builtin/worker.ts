import { parentPort } from 'node:worker_threads';
import { need } from '../../base/assert.ts';
import { deferred, type Deferred } from '../../base/condition.ts';
import type { Seen } from './ledger.ts';
import { generateLoad, UnusableTarget, type LoadJob, type LoadResult } from './load.ts';

/** The load generator on a thread of its own: the controller's work cannot disturb its clock. */

export type ToWorker =
  | { readonly type: 'run'; readonly job: LoadJob }
  /** The measurement begins at this moment, in ms since 1970. */
  | { readonly type: 'begin'; readonly atMs: number }
  | { readonly type: 'abort' }
  /** Nothing comes any more: the thread has no other reason to live. */
  | { readonly type: 'end' };
export type FromWorker =
  /** Warmed up. */
  | { readonly type: 'ready' }
  | { readonly type: 'progress'; readonly seen: Seen }
  | { readonly type: 'done'; readonly result: LoadResult }
  | {
      readonly type: 'unusable';
      readonly message: string;
      readonly status: number | undefined;
      readonly code: string | undefined;
    }
  | { readonly type: 'failed'; readonly message: string };

const port = need(parentPort, 'parent port');
const send = (message: FromWorker): void => port.postMessage(message);
let running: { readonly controller: AbortController; readonly begin: Deferred<number> } | undefined;

async function run(job: LoadJob): Promise<FromWorker> {
  const controller = new AbortController();
  const begin = deferred<number>();
  running = { controller, begin };
  const ready = async (): Promise<number> => {
    send({ type: 'ready' });
    return begin.promise;
  };
  const progress = (seen: Seen): void => send({ type: 'progress', seen });
  try {
    return { type: 'done', result: await generateLoad(job, { ready, progress }, controller.signal) };
  } catch (error) {
    if (error instanceof UnusableTarget) {
      return { type: 'unusable', message: error.message, status: error.status, code: error.code };
    }
    return {
      type: 'failed',
      message: error instanceof Error ? error.message : String(error),
    };
  } finally {
    running = undefined;
  }
}

port.on('message', (message: ToWorker) => {
  if (message.type === 'run') void run(message.job).then(send);
  else if (message.type === 'begin') running?.begin.resolve(message.atMs);
  else if (message.type === 'end') port.close();
  else {
    running?.controller.abort(new Error('aborted'));
    running?.begin.resolve(0);
  }
});
