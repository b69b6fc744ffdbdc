import type { LogPattern } from '../parallel/ports.ts';

/**
 * Lines that tell why a service ends. In the order of causes: the first that a log contains decides the blame.
 * Anchored on exception texts, never on ERROR alone: requests are logged as well.
 */

const smaller = 'This configuration needs more device memory than there is; it is not tried again.';

/** The configuration is at fault; the start ends at once. */
export const params = (text: string, remedy = smaller): LogPattern => ({
  text,
  blame: 'params',
  remedy,
  fatal: true,
});

/** The machine is at fault. The process may get over it, so only its end ends the start. */
export const node = (text: string, remedy: string, ignoreCase = false): LogPattern => ({
  text,
  ignoreCase,
  blame: 'node',
  remedy,
  fatal: false,
});

/** Nothing will start before a person has mended it. */
export const operator = (text: string, remedy: string): LogPattern => ({
  text,
  blame: 'operator',
  remedy,
  fatal: true,
});

/** Says that it is over, not why: the cause is in the lines before. */
export const wrapper = (text: string): LogPattern => ({
  text,
  blame: 'node',
  remedy: '',
  fatal: true,
  wrapper: true,
});

const weak = (pattern: LogPattern): LogPattern => ({ ...pattern, weak: true });

/** Lines that mean the same whatever engine writes them. */
export const commonPatterns: readonly LogPattern[] = [
  params('CUDA out of memory'),
  params('torch.OutOfMemoryError'),
  params('NPU out of memory. Tried to allocate'),
  params('Memory_Allocation_Failure(EL0004)'),
  weak({
    ...operator('GatedRepoError', 'Download the model beforehand; nodes must not depend on a hub.'),
    fatal: false,
  }),
  weak({
    ...operator(
      'Repository Not Found',
      'Check the name of the model, or give a path that exists on every node.',
    ),
    fatal: false,
  }),
  node('Communication_Error_Bind_IP_Port(EJ0003)', 'Something else holds a port of the fabric on this node.'),
  weak(node('SUSPECT REMOTE ERROR', 'Another node of the group failed first: see its log.')),
  weak(
    node(
      'DistStoreError: Timed out after',
      'A node of the group did not come: see its log, and the network.',
    ),
  ),
  weak(node('recvValue failed on SocketImpl', 'A node of the group was lost: see its log.')),
  node('address already in use', 'Something else holds the port on this node.', true),
  node('No space left on device', 'Free disk space (or /dev/shm) on this node.'),
  node('Bus error', 'Look at /dev/shm on this node: it is often too small.'),
  weak(node('NCCL error: unhandled system error', 'Check the network between the nodes of the group.')),
  weak(
    node(
      'remote process exited or there was a network error',
      'Another node of the group failed first: see its log.',
    ),
  ),
  node('CUDA error: uncorrectable ECC', 'A device of this node is broken.'),
  node('busy or unavailable', 'A device of this node is held by another process.'),
];
