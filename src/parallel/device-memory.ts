import { need } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { ms } from '../base/units.ts';
import type { NodeConfig } from '../config/parallel-config.ts';
import type { NodeProbe } from './ports.ts';
import { ServiceErrors } from './service-errors.ts';
import type { Node } from './topology.ts';

/** Drivers and displays hold some memory of a device that nobody uses; those of NPUs hold more. */
const freeDevice = { gpu: 0.05, npu: 0.1, none: 1 } as const;

/** The memory of an NPU comes back late. */
const patience = ms(50_000);

/**
 * Too little device memory: the configuration asks for too much, or somebody else has it. Looked at when all of ours
 * is gone.
 */
export async function judged(
  error: unknown,
  nodes: readonly Node[],
  configs: readonly NodeConfig[],
  { probe, engine, clock }: { readonly probe: NodeProbe; readonly engine: string; readonly clock: Clock },
  signal: AbortSignal,
): Promise<unknown> {
  if (!ServiceErrors.isUnclear(error)) return error;
  for (const [rank, { executor, facts }] of nodes.entries()) {
    const until = clock.now() + patience;
    const limit = freeDevice[facts.deviceType];
    const inUse = async (): Promise<number | undefined> =>
      probe.memoryInUse(executor, need(configs[rank], 'node'), facts, signal);
    let share = await inUse();
    while (share !== undefined && share > limit && clock.now() < until) {
      await clock.sleep(ms(2000), signal);
      share = await inUse();
    }
    if (share !== undefined && share > limit)
      return new ServiceErrors(engine, []).heldElsewhere(error, executor.host, share);
  }
  return error;
}
