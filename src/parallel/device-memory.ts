import { need } from '../base/assert.ts';
import type { NodeConfig } from '../config/parallel-config.ts';
import type { NodeProbe } from './ports.ts';
import { ServiceErrors } from './service-errors.ts';
import type { Node } from './topology.ts';

/** Drivers and displays hold some memory of a device that nobody uses. */
const freeDevice = 0.05;

/**
 * Too little device memory: the configuration asks for too much, or somebody else has it. Looked at when all of ours
 * is gone.
 */
export async function judged(
  error: unknown,
  nodes: readonly Node[],
  configs: readonly NodeConfig[],
  { probe, engine }: { readonly probe: NodeProbe; readonly engine: string },
  signal: AbortSignal,
): Promise<unknown> {
  if (!ServiceErrors.isUnclear(error)) return error;
  for (const [rank, { executor, facts }] of nodes.entries()) {
    const share = await probe.memoryInUse(executor, need(configs[rank], 'node'), facts, signal);
    if (share !== undefined && share > freeDevice)
      return new ServiceErrors(engine, []).heldElsewhere(error, executor.host, share);
  }
  return error;
}
