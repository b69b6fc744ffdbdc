import { isMainThread } from 'node:worker_threads';
import { serving } from './agent-protocol.ts';

/**
 * The load generator as one file, which is its own worker thread as well: for a process beside the optimizer, and for
 * machines that have Node and nothing of ours. It is built into `agent.mjs`.
 */
if (!isMainThread) await import('./worker.ts');
else if (process.argv[2] === serving) await import('./agent-serve.ts');
else await import('./agent-main.ts');
