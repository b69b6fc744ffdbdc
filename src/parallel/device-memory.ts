import { need } from '../base/assert.ts';
import { settleAll } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import { ms } from '../base/units.ts';
import type { NodeConfig } from '../config/parallel-config.ts';
import { SimulatorStopError } from '../base/errors.ts';
import type { GroupDependencies } from './group-dependencies.ts';
import type { NodeProbe } from './ports.ts';
import { ServiceErrors } from './service-errors.ts';
import type { Node } from './topology.ts';

/** Drivers and displays hold some memory of a device that nobody uses; those of NPUs hold more. */
const freeDevice = { gpu: 0.05, npu: 0.1, none: 1 } as const;

/** The memory of an NPU comes back late. */
const patience = ms(50_000);

/** What drivers and others take in the meantime. */
const slack = 0.05;

/** What is in use on each node while nothing of ours runs there. */
export class MemoryBaseline {
  readonly #deps: Pick<GroupDependencies, 'probe' | 'clock' | 'engine'>;
  readonly #configs: readonly NodeConfig[];
  readonly #shares = new Map<number, number>();

  constructor(
    configs: readonly NodeConfig[],
    dependencies: Pick<GroupDependencies, 'probe' | 'clock' | 'engine'>,
  ) {
    this.#configs = configs;
    this.#deps = dependencies;
  }

  /** Looks at nodes on which nothing of ours runs. @throws SimulatorStopError where what an earlier look saw is not back */
  async look(nodes: readonly Node[], signal: AbortSignal): Promise<void> {
    await settleAll(
      nodes.map(async (node, rank) => {
        const share = await this.#share(node, rank, signal);
        const before = this.#shares.get(rank);
        if (share === undefined) return;
        if (before !== undefined && share > before + slack)
          throw await this.#leak(node, share, before, signal);
        this.#shares.set(rank, Math.min(share, before ?? share));
      }),
    );
  }

  /** Waits until it is back after a stop. @throws SimulatorStopError that names the holder */
  async returned(nodes: readonly Node[], signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    await settleAll(
      nodes.map(async (node, rank) => {
        const before = this.#shares.get(rank);
        if (before === undefined) return;
        const until = clock.now() + patience;
        let share = await this.#share(node, rank, signal);
        for (
          let pause = 50;
          share !== undefined && share > before + slack;
          pause = Math.min(2000, 2 * pause)
        ) {
          if (clock.now() >= until) throw await this.#leak(node, share, before, signal);
          await clock.sleep(ms(pause), signal);
          share = await this.#share(node, rank, signal);
        }
      }),
    );
  }

  async #share({ executor, facts }: Node, rank: number, signal: AbortSignal): Promise<number | undefined> {
    return this.#deps.probe.memoryInUse(executor, need(this.#configs[rank], 'node'), facts, signal);
  }

  async #leak(
    { executor, facts }: Node,
    share: number,
    before: number,
    signal: AbortSignal,
  ): Promise<SimulatorStopError> {
    const { probe, engine } = this.#deps;
    const holders = await probe.memoryHolders(executor, facts, signal);
    const percent = (part: number): string => `${Math.round(100 * part)} %`;
    const held = holders === '' ? 'nobody says by whom' : `held by ${holders}`;
    return new SimulatorStopError(
      engine,
      undefined,
      `${percent(share)} of a device's memory on ${executor.host} is in use, ${percent(before)} before the start; ${held}`,
      {
        remedy: `Look with nvidia-smi or npu-smi on ${executor.host}; the group comes back when it is free.`,
      },
    );
  }
}

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
