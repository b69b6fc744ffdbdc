import type { LogPattern } from '../parallel/ports.ts';

const smaller = 'This configuration needs more device memory than there is; it is not tried again.';

const params = (text: string, remedy = smaller): LogPattern => ({
  text,
  blame: 'params',
  remedy,
  fatal: true,
});
const node = (text: string, remedy: string, ignoreCase = false): LogPattern => ({
  text,
  ignoreCase,
  blame: 'node',
  remedy,
  fatal: false,
});
const operator = (text: string, remedy: string): LogPattern => ({
  text,
  blame: 'operator',
  remedy,
  fatal: false,
});

/** Lines that mean the same whatever engine writes them; anchored on exception texts, never on ERROR alone. */
export const commonPatterns: readonly LogPattern[] = [
  params('CUDA out of memory'),
  params('torch.OutOfMemoryError'),
  params('NPU out of memory. Tried to allocate'),
  params('No available memory for the cache blocks'),
  {
    ...params('To serve at least one request with the model'),
    remedy:
      'Raise gpu_memory_utilization or tensor parallelism, or lower the model length or the batched tokens.',
    sentence: {
      match: /max seq len \((\d+)\)[^(]*\(([\d.]+ GiB) KV cache is needed.*?memory \((-?[\d.]+ GiB)\)/,
      words: 'KV cache $3 < $2 needed for one request of $1 tokens',
    },
  },
  params('Not enough memory. Please try to increase --mem-fraction-static'),
  params('cudaMalloc failed: out of memory'),
  params('Memory_Allocation_Failure(EL0004)'),
  operator(
    'error: unrecognized arguments:',
    'The start script passes an argument that this version does not know.',
  ),
  operator('GatedRepoError', 'Download the model beforehand; nodes must not depend on a hub.'),
  node('address already in use', 'Something else holds the port on this node.', true),
  node('No space left on device', 'Free disk space (or /dev/shm) on this node.'),
  node('Bus error', 'Look at /dev/shm on this node: it is often too small.'),
  node('NCCL error: unhandled system error', 'Check the network between the nodes of the group.'),
  node('CUDA error: uncorrectable ECC', 'A device of this node is broken.'),
  node('busy or unavailable', 'A device of this node is held by another process.'),
];
