import { need } from '../base/assert.ts';
import { childController, settleAll } from '../base/cancellation.ts';
import { SimulatorStopError } from '../base/errors.ts';
import { ms, type GroupId, type Ms } from '../base/units.ts';
import type { GroupDependencies, StartContext } from './group-dependencies.ts';
import type { Owner, PlannedProcess } from './ports.ts';
import type { WatchedProcess } from './running-service.ts';
import type { Node } from './topology.ts';

export const commandTimeout = ms(60_000);

/** What this run has on the nodes of one group, wherever it went: starts it, counts it, ends it and proves that. */
export class OwnedProcesses {
  readonly #deps: GroupDependencies;
  readonly #groupId: GroupId;
  /** Ranks on which this run may have processes. */
  readonly #touched = new Set<number>();
  #nodes: readonly Node[] = [];

  constructor(groupId: GroupId, dependencies: GroupDependencies) {
    this.#groupId = groupId;
    this.#deps = dependencies;
  }

  /** The nodes were connected, perhaps again: an earlier session may have left something on any of them. */
  on(nodes: readonly Node[]): void {
    this.#nodes = nodes;
    for (const rank of nodes.keys()) this.#touched.add(rank);
  }

  owner(rank: number): Owner {
    return { runId: this.#deps.runId, groupId: this.#groupId, rank };
  }

  /** @param start how many starts the group has had: names the log */
  async spawn(planned: PlannedProcess, context: StartContext, start: number): Promise<WatchedProcess> {
    const { rank, role, command } = planned;
    const { executor, facts } = need(this.#nodes[rank], 'node');
    const owner = this.owner(rank);
    this.#touched.add(rank);
    const directory = `${facts.workDir}/runs/${owner.runId}/g${owner.groupId}-r${rank}`;
    const process = await executor.spawn(this.#deps.runtime.wrap(command, owner), {
      signal: context.signal,
      directory,
      logFile: `${directory}/trial-${context.trialId}-${role}-${start}.log`,
      token: this.#deps.runtime.token(owner),
    });
    return { rank, host: executor.host, process };
  }

  /** How many are alive. */
  async count(signal: AbortSignal): Promise<number> {
    const counts = await settleAll(
      this.#nodes.map(async ({ executor }, rank) => {
        const command = this.#deps.runtime.count(this.owner(rank));
        const { stdout } = await executor.run(command, { signal, timeout: commandTimeout });
        return Number(stdout.trim());
      }),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** @throws SimulatorStopError naming what survived, or what kept a node from being looked at */
  async end(grace: Ms, started: readonly WatchedProcess[] = []): Promise<void> {
    const results = await settleAll(
      [...this.#touched].map(async (rank) => {
        const { executor } = need(this.#nodes[rank], 'node');
        using limit = childController();
        const known = started.filter((one) => one.rank === rank).map(({ process }) => process.identity);
        const command = this.#deps.runtime.reap(this.owner(rank), grace, known);
        const timeout = ms(grace + commandTimeout);
        const { stdout } = await executor.run(command, { signal: limit.signal, timeout });
        if (stdout.trim() === '') this.#touched.delete(rank);
        return { host: executor.host, survivors: stdout.trim() };
      }),
    );
    const left = results.filter(({ survivors }) => survivors !== '');
    if (left.length === 0) return;
    const named = left
      .map(({ host, survivors }) => `${host}: ${survivors.replaceAll('\n', ', ')}`)
      .join('; ');
    throw new SimulatorStopError(this.#deps.engine, undefined, `still running after KILL: ${named}`);
  }
}
