import { need } from '../base/assert.ts';
import { childController, deadline, settleAll } from '../base/cancellation.ts';
import {
  asOptimizerError,
  CommunicationError,
  SimulatorStopError,
  type Blame,
  type ModelEvalStateError,
} from '../base/errors.ts';
import { fromSeconds, groupId, ms, type GroupId, type Ms, type TrialId } from '../base/units.ts';
import type { ServiceGroupConfig } from '../config/parallel-config.ts';
import { released, type KeptService } from './kept-service.ts';
import type { GroupTopology, LaunchPlan, ToolHost } from './ports.ts';
import { handleOf, watch, watchLogs, type RunningService, type WatchedProcess } from './running-service.ts';
import type { GroupDependencies, StartContext } from './group-dependencies.ts';
import { ServiceErrors, type Experience } from './service-errors.ts';
import { commandTimeout, OwnedProcesses } from './owned-processes.ts';
import { reached, untilHealthy, type StageContext } from './stages.ts';
import { placeOf, untilFree } from './place.ts';
import { judged, MemoryBaseline } from './device-memory.ts';
import { reachOf, type Reach } from './reach.ts';
import { closeAll, connectNodes, writeFiles } from './connect-nodes.ts';
import { topologyOf, type KnownNode, type Node } from './topology.ts';

/** Machines that host one instance of the service at a time, reached through one executor each. */
export class ServiceGroup implements AsyncDisposable {
  readonly id: GroupId;
  readonly config: ServiceGroupConfig;
  readonly #deps: GroupDependencies;
  readonly #errors: ServiceErrors;
  readonly #owned: OwnedProcesses;
  readonly #memory: MemoryBaseline;
  /** How its services are reached from here. */
  readonly reach: Reach;
  #nodes: Node[] = [];
  /** The nodes as they were connected last: plans are made of this also when the connections are closed. */
  #known: readonly KnownNode[] = [];
  #kept: KeptService | undefined;
  #starts = 0;
  #proven = false;

  constructor(config: ServiceGroupConfig, dependencies: GroupDependencies) {
    this.id = groupId(config.group_id);
    this.config = config;
    this.#deps = dependencies;
    this.#errors = new ServiceErrors(dependencies.engine, dependencies.logPatterns);
    this.#owned = new OwnedProcesses(config, dependencies);
    this.#memory = new MemoryBaseline(config.nodes, dependencies);
    this.reach = reachOf(this.id, () => this.#nodes[0]?.executor, dependencies);
  }

  get hosts(): readonly string[] {
    return this.config.nodes.map((node) => node.host);
  }

  /** Accelerators of all its nodes. */
  get devices(): number {
    return this.config.nodes.reduce((sum, node) => sum + node.npu_ids.length, 0);
  }

  /** What its nodes have, in words; undefined while none of them says. */
  get hardware(): string | undefined {
    const said = new Set(this.#known.flatMap(({ facts }) => facts.hardware ?? []));
    return said.size === 0 ? undefined : [...said].join('; ');
  }

  get connected(): boolean {
    return this.#nodes.length > 0;
  }

  /**
   * Connects what is not connected, looks around on every node, and ends what this run left there.
   * @throws CommunicationError, ConfigurationError; a group that fails here has no executors and runs nothing
   */
  async connect(signal: AbortSignal, options: { readonly retry: boolean }): Promise<void> {
    // Taking over ends whatever ran here.
    const idle = this.take();
    const kept = this.#nodes;
    this.#nodes = [];
    const executors = await connectNodes(this.config.nodes, kept, this.#deps, { ...options, signal });
    try {
      const nodes = await this.#owned.takeOver(executors, signal);
      await released(idle);
      await this.#memory.look(nodes, signal);
      this.#nodes = await this.#owned.inspect(nodes, this.config, signal);
    } catch (error) {
      await closeAll(executors);
      throw error;
    }
    this.#known = this.#nodes;
    for (const { facts, executor } of this.#nodes) {
      if (facts.warning !== undefined) this.#deps.note(`${executor.host}: ${facts.warning}`);
    }
  }

  /** Why a node of it is out of reach, where its connection has ended. */
  get lost(): ModelEvalStateError | undefined {
    const signal = this.#nodes.find(({ executor }) => executor.lost.aborted)?.executor.lost;
    return signal && asOptimizerError(signal.reason);
  }

  /** Whether every node answers. @throws CommunicationError, IPCTimeoutError */
  async check(signal: AbortSignal, timeout: Ms): Promise<void> {
    if (this.#nodes.length === 0) throw new CommunicationError(`Group ${this.id} is not connected`);
    await settleAll(
      this.#nodes.map(async ({ executor }) => executor.run({ argv: ['true'] }, { signal, timeout })),
    );
  }

  /** Leaves a service running for the next trial. */
  keep(service: KeptService): void {
    this.#kept = service;
  }

  /** What was left running, which is the caller's from now on. */
  take(): KeptService | undefined {
    const kept = this.#kept;
    this.#kept = undefined;
    return kept;
  }

  /** Whether a service of that key waits here. */
  runs(key: string): boolean {
    return this.#kept?.key === key && !this.#kept.service.failed.aborted;
  }

  topology(trialId: TrialId): GroupTopology {
    const { runId, sharesPaths, runtime } = this.#deps;
    const run = { runId, trialId, start: this.#starts, sharesPaths, runtime: runtime.name };
    return topologyOf(this.config, run, this.#known);
  }

  /**
   * Starts the plan stage by stage and waits until the service is healthy.
   * @throws with nothing left running
   */
  async start(plan: LaunchPlan, context: StartContext): Promise<RunningService> {
    if (this.#nodes.length === 0) {
      throw new CommunicationError(`Group ${this.id} is not connected`, { hosts: this.hosts.join(',') });
    }
    this.#starts++;
    await this.refuseForeignService(plan, 'node', context.signal);
    const started: WatchedProcess[] = [];
    try {
      await writeFiles(plan, this.#nodes, context.signal);
      await this.#owned.runAll(plan.prepare ?? [], context.signal);
      return await this.#launch(plan, context, started);
    } catch (error) {
      await this.#stop(plan, started);
      throw await judged(error, this.#nodes, this.config.nodes, this.#deps, context.signal);
    }
  }

  /** Ends what this run has on the group's nodes, as far as they can be reached, and closes the connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.take()?.service[Symbol.asyncDispose]();
    } catch (error) {
      this.#deps.note(
        `group ${this.id}: ${asOptimizerError(error).message}; \`optimizer clean\` ends what is left`,
      );
    }
    await this.#owned.left();
    const nodes = this.#nodes;
    this.#nodes = [];
    await closeAll(nodes.map(({ executor }) => executor));
  }

  /** Something that answers before we start would be measured in our place. */
  async refuseForeignService(plan: LaunchPlan, blame: Blame, signal: AbortSignal): Promise<void> {
    const { host, port } = placeOf(plan);
    if (await this.reach.listens(host, port, signal)) throw this.#errors.portInUse(host, port, blame);
  }

  /** Where load tools run on the master. */
  toolHost(trialId: TrialId, attempt: number): ToolHost {
    const { executor, facts } = need(this.#nodes[0], 'node');
    const owner = this.#owned.owner(0);
    return {
      executor,
      directory: `${facts.workDir}/runs/${owner.runId}/g${owner.groupId}-r0/bench-${trialId}-${attempt}`,
      cwd: facts.workDir,
      env: need(this.topology(trialId).nodes[0], 'master').env,
      outlives: this.#deps.runtime.name !== 'host',
      wrap: (command) => this.#deps.runtime.wrap(command, owner),
      wrapOnHost: (command) => this.#deps.runtime.wrapOnHost(command, owner),
    };
  }

  async #launch(plan: LaunchPlan, context: StartContext, started: WatchedProcess[]): Promise<RunningService> {
    const began = this.#deps.clock.now();
    const experience = (): Experience => ({
      groupProven: this.#proven,
      runProven: context.runProven || this.#proven,
      isCurrent: context.isCurrent,
    });
    const fatal = childController();
    let failed: AbortSignal | undefined;
    for (const stage of plan.stages) {
      const processes = await settleAll(
        stage.processes.map(async (process) => {
          const watched = await this.#owned.spawn(process, plan, context, this.#starts);
          started.push(watched);
          return watched;
        }),
      );
      watchLogs(
        processes,
        (watched, line) => this.#errors.fatalLine(watched, line, started, experience()),
        fatal,
      );
      failed = watch(started, (watched, code) => this.#errors.death(watched, code, started, experience()));
      const limit = (): Error => this.#errors.timeout(plan.probe.url, stage.timeout);
      using bounded = deadline(this.#deps.clock, stage.timeout, limit, context.signal, failed, fatal.signal);
      await reached(stage.until, this.#stageContext(plan, started, experience(), bounded.signal));
    }
    const signal = need(failed, 'stage');
    const last = need(plan.stages.at(-1), 'stage');
    const left = ms(Math.max(0, last.timeout - (this.#deps.clock.now() - began)));
    using bounded = deadline(
      this.#deps.clock,
      left,
      () => this.#errors.timeout(plan.probe.url, last.timeout),
      context.signal,
      signal,
      fatal.signal,
    );
    await untilHealthy(plan.probe, this.#stageContext(plan, started, experience(), bounded.signal));
    this.#proven = true;
    return this.#handle(plan, started, experience(), signal);
  }

  #stageContext(
    plan: LaunchPlan,
    started: readonly WatchedProcess[],
    experience: Experience,
    signal: AbortSignal,
  ): StageContext {
    return {
      clock: this.#deps.clock,
      http: this.reach,
      signal,
      executor: (rank) => need(this.#nodes[rank], 'node').executor,
      processes: started,
      address: (rank) => need(this.#nodes[rank], 'node').executor.address,
      silenceTimeout: plan.silenceTimeout,
      silent: (seconds) => this.#errors.silent(seconds),
      alive: async () => plan.detached || (await this.#owned.count(signal)) > 0,
      vanished: () => this.#errors.vanished(started, experience),
    };
  }

  #handle(
    plan: LaunchPlan,
    started: readonly WatchedProcess[],
    experience: Experience,
    died: AbortSignal,
  ): RunningService {
    const { clock, engine } = this.#deps;
    const { url } = plan.probe;
    return handleOf(started, died, {
      ...{ clock, engine, target: plan.target },
      answers: async (signal) => (await this.reach.status(url, signal)) !== undefined,
      diedUnderLoad: () => this.#errors.diedUnderLoad(url, experience),
      children: plan.detached ? undefined : async (signal) => this.#owned.count(signal),
      vanished: () => this.#errors.vanished(started, experience),
      stop: async () => this.#stop(plan, started),
    });
  }

  /** Gracefully, then by force, then the proof. It runs because a signal fired, so it does not obey one. */
  async #stop(plan: LaunchPlan, started: readonly WatchedProcess[]): Promise<void> {
    const grace = fromSeconds(this.config.stop_grace);
    using limit = deadline(
      this.#deps.clock,
      ms(grace + commandTimeout),
      () => new SimulatorStopError(this.#deps.engine, undefined, 'it took too long'),
    );
    try {
      await this.#owned.ask(plan.stop, grace, limit.signal);
      await this.#owned.end(grace, started);
      await settleAll([
        this.#owned.runAll(plan.restore ?? [], limit.signal),
        untilFree(placeOf(plan), { ...this.#deps, http: this.reach }, limit.signal),
        this.#memory.returned(this.#nodes, limit.signal),
      ]);
    } finally {
      for (const { process } of started) process[Symbol.dispose]();
    }
  }
}
