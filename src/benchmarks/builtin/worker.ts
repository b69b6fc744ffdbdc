import { parentPort } from 'node:worker_threads';
import { need } from '../../base/assert.ts';
import { generateLoad, UnusableTarget, type LoadJob, type LoadResult } from './load.ts';

/** The load generator on a thread of its own: the controller's work cannot disturb its clock. */

export type ToWorker = { readonly type: 'run'; readonly job: LoadJob } | { readonly type: 'abort' };
export type FromWorker =
  | { readonly type: 'done'; readonly result: LoadResult }
  | {
      readonly type: 'unusable';
      readonly message: string;
      readonly status: number | undefined;
      readonly code: string | undefined;
    }
  | { readonly type: 'failed'; readonly message: string };

const port = need(parentPort, 'parent port');
let running: AbortController | undefined;

async function run(job: LoadJob): Promise<FromWorker> {
  const controller = new AbortController();
  running = controller;
  try {
    return { type: 'done', result: await generateLoad(job, controller.signal) };
  } catch (error) {
    if (error instanceof UnusableTarget) {
      return { type: 'unusable', message: error.message, status: error.status, code: error.code };
    }
    return {
      type: 'failed',
      message: error instanceof Error ? (error.stack ?? error.message) : String(error),
    };
  } finally {
    running = undefined;
  }
}

port.on('message', (message: ToWorker) => {
  if (message.type === 'abort') running?.abort(new Error('aborted'));
  else void run(message.job).then((answer) => port.postMessage(answer));
});
