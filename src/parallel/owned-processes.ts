import { need } from '../base/assert.ts';
import { never, settleAll } from '../base/cancellation.ts';
import { SimulatorStartError, SimulatorStopError } from '../base/errors.ts';
import { fromSeconds, groupId, ms, type GroupId, type Ms } from '../base/units.ts';
import type { ServiceGroupConfig } from '../config/parallel-config.ts';
import type { GroupDependencies, StartContext } from './group-dependencies.ts';
import { guardedIn, isOrphan, parseCensus, type OwnedFound } from './leftovers.ts';
import type { Command, Executor, Guard, LaunchPlan, Owner, PlannedProcess } from './ports.ts';
import type { WatchedProcess } from './running-service.ts';
import type { Node } from './topology.ts';

export const commandTimeout = ms(60_000);
/** Engines in Python take their time to say what they know. */
const inspectionTimeout = ms(300_000);

/** What this run has on the nodes of one group, wherever it went: starts it, counts it, ends it and proves that. */
export class OwnedProcesses {
  readonly #deps: GroupDependencies;
  readonly #groupId: GroupId;
  readonly #config: ServiceGroupConfig;
  /** Ranks on which this run may have processes. */
  readonly #touched = new Set<number>();
  /** By rank: guardians of what is gone, on their way out. They must not take what is started next for it. */
  readonly #leaving = new Map<number, Promise<unknown>>();
  #nodes: readonly Node[] = [];

  constructor(config: ServiceGroupConfig, dependencies: GroupDependencies) {
    this.#groupId = groupId(config.group_id);
    this.#config = config;
    this.#deps = dependencies;
  }

  /**
   * The nodes were connected, perhaps again: takes them, and ends what an earlier session of this run left there.
   * @throws ConfigurationError, SimulatorStartError, CommunicationError, blame `operator`, where another run that is gone left something, or one that
   * lives has it
   */
  async takeOver(executors: readonly Executor[], signal: AbortSignal): Promise<readonly Node[]> {
    const { lock, runId, since, lease, runtime } = this.#deps;
    const claim = { runId, since, lease, census: runtime.census() };
    const nodes = await settleAll(
      executors.map(async (executor, rank) => {
        const taken = await lock.take(executor, need(this.#config.nodes[rank], 'node'), claim, signal);
        return { ...taken, executor };
      }),
    );
    this.#nodes = nodes;
    const found = nodes.map(({ executor: { host }, found: text }) => ({
      processes: parseCensus(host, text),
      guarded: guardedIn(text),
    }));
    const all = found.flatMap(({ processes }) => processes);
    const orphans = all.filter((one) => one.run !== this.#deps.runId && isOrphan(one));
    if (orphans[0] !== undefined) throw this.#leftBehind(orphans[0], orphans);
    for (const [rank, { processes }] of found.entries()) {
      const token = this.#token(rank);
      if (processes.some((one) => one.token === token)) this.#touched.add(rank);
    }
    await this.end(ms(0));
    // A guardian of an earlier session, or of a connection that broke, must not end what is started now.
    await settleAll(
      nodes.map(async ({ executor }, rank) => {
        const token = this.#token(rank);
        if (found[rank]?.guarded.has(token) === true)
          await executor.run(runtime.dismiss(token), { signal, timeout: commandTimeout });
      }),
    );
    return nodes;
  }

  #leftBehind({ run, host }: OwnedFound, all: readonly OwnedFound[]): SimulatorStartError {
    const names = all.map(({ pid, name }) => `${pid} ${name}`).join(', ');
    return new SimulatorStartError(
      this.#deps.engine,
      `run ${run}, which is gone, left processes on ${host}: ${names}`,
      undefined,
      {
        blame: 'operator',
        remedy:
          'Go on with that run (`optimizer resume`), or end them: `optimizer clean` with the same hosts.',
      },
    );
  }

  /** Lets the engine look around, when nothing of this run is left that it could trip over. */
  async inspect(nodes: readonly Node[], group: ServiceGroupConfig, signal: AbortSignal): Promise<Node[]> {
    return settleAll(
      nodes.map(async ({ executor, facts }, rank) => {
        const command = this.#deps.inspection?.(need(group.nodes[rank], 'node'), group);
        if (command === undefined) return { executor, facts };
        const wrapped = this.#deps.runtime.wrap({ cwd: facts.workDir, ...command }, this.owner(rank));
        const { stdout } = await executor.run(wrapped, { signal, timeout: inspectionTimeout });
        return { executor, facts: { ...facts, inspected: stdout } };
      }),
    );
  }

  #token(rank: number): string {
    return this.#deps.runtime.token(this.owner(rank));
  }

  owner(rank: number): Owner {
    return { runId: this.#deps.runId, groupId: this.#groupId, rank };
  }

  /** @param start how many starts the group has had: names the log */
  async spawn(
    planned: PlannedProcess,
    plan: LaunchPlan,
    context: StartContext,
    start: number,
  ): Promise<WatchedProcess> {
    const { rank, role, command } = planned;
    const { executor, facts } = need(this.#nodes[rank], 'node');
    const owner = this.owner(rank);
    await this.#leaving.get(rank);
    this.#touched.add(rank);
    const directory = `${facts.workDir}/runs/${owner.runId}/g${owner.groupId}-r${rank}`;
    const process = await executor.spawn(this.#deps.runtime.wrap(command, owner), {
      signal: context.signal,
      ...{ directory, token: this.#token(rank) },
      logFile: `${directory}/trial-${context.trialId}-${role}-${start}.log`,
      guard: this.#guard(rank, plan),
    });
    return { rank, host: executor.host, process };
  }

  /** By the rules by which we end it. */
  #guard(rank: number, { stop, restore = [], detached }: LaunchPlan): Guard {
    const { runtime, lease } = this.#deps;
    const { workDir } = need(this.#nodes[rank], 'node').facts;
    const here = (commands: readonly PlannedProcess[]): Command[] =>
      commands
        .filter((one) => one.rank === rank)
        .map(({ command }) => runtime.wrap({ cwd: workDir, ...command }, this.owner(rank)));
    const grace = fromSeconds(this.#config.stop_grace);
    return {
      ...{ lease, grace, detached },
      stop: here(stop),
      reap: runtime.reap(this.#token(rank), grace, []),
      count: runtime.count(this.#token(rank)),
      restore: here(restore),
    };
  }

  /** One after the other, each to its end. @throws IPCCommandError */
  async runAll(commands: readonly PlannedProcess[], signal: AbortSignal): Promise<void> {
    for (const { rank, command } of commands) {
      const { executor, facts } = need(this.#nodes[rank], 'node');
      const wrapped = this.#deps.runtime.wrap({ cwd: facts.workDir, ...command }, this.owner(rank));
      await executor.run(wrapped, { signal, timeout: commandTimeout });
    }
  }

  /** Asks the service to stop by itself; what does not go then is ended. */
  async ask(stop: readonly PlannedProcess[], grace: Ms, signal: AbortSignal): Promise<void> {
    for (const { rank, command } of stop) {
      const { executor } = need(this.#nodes[rank], 'node');
      const timeout = ms(grace + 30_000);
      try {
        await executor.run(this.#deps.runtime.wrap(command, this.owner(rank)), { signal, timeout });
      } catch (error) {
        this.#deps.note(`stop script on ${executor.host}: ${(error as Error).message}; ending its processes`);
      }
    }
  }

  /** How many are alive. */
  async count(signal: AbortSignal): Promise<number> {
    const counts = await settleAll(
      this.#nodes.map(async ({ executor }, rank) => {
        const command = this.#deps.runtime.count(this.#token(rank));
        const { stdout } = await executor.run(command, { signal, timeout: commandTimeout });
        return Number(stdout.trim());
      }),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Resolves when all guardians that were sent away are gone. */
  async left(): Promise<void> {
    await Promise.all(this.#leaving.values());
  }

  /** @returns a line for each survivor */
  async #reap(rank: number, grace: Ms, known: readonly string[]): Promise<string> {
    const { executor } = need(this.#nodes[rank], 'node');
    const command = this.#deps.runtime.reap(this.#token(rank), grace, known);
    const timeout = ms(grace + commandTimeout);
    const { stdout } = await executor.run(command, { signal: never, timeout, untied: true });
    return stdout.trim();
  }

  /** @throws SimulatorStopError naming what survived, or what kept a node from being looked at */
  async end(grace: Ms, started: readonly WatchedProcess[] = []): Promise<void> {
    const results = await settleAll(
      [...this.#touched].map(async (rank) => {
        const { executor } = need(this.#nodes[rank], 'node');
        const here = started.filter((one) => one.rank === rank).map(({ process }) => process);
        const known = here.map(({ identity }) => identity);
        const timeout = ms(grace + commandTimeout);
        const survivors = (await here[0]?.end(known, timeout)) ?? (await this.#reap(rank, grace, known));
        if (survivors === '') {
          this.#touched.delete(rank);
          // Whatever becomes of the other nodes: here is nothing left to guard. Only the next start waits for that.
          this.#leaving.set(rank, Promise.all(here.map(async (process) => process.release())));
        }
        return { host: executor.host, survivors };
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
