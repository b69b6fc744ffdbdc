import { isMainThread } from 'node:worker_threads';

/**
 * The load generator as one file, which is its own worker thread as well: for a process beside the optimizer, and for
 * machines that have Node and nothing of ours. It is built into `agent.mjs`. What Node is too old for is loaded after its
 * version is known to do.
 */

const oldest = 20;

if (Number(process.versions.node.split('.')[0]) < oldest) {
  process.stderr.write(`Node ${process.versions.node} is too old: the load generator needs ${oldest}\n`);
  process.exitCode = 127; // as a shell says where there is none
} else if (!isMainThread) {
  await import('./worker.ts');
} else if (process.argv[2] === 'serve') {
  await import('./agent-serve.ts');
} else {
  await import('./agent-main.ts');
}
