import { need } from '../base/assert.ts';
import {
  abortable,
  childController,
  deadline,
  settleAll,
  type ChildController,
} from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import {
  CommunicationError,
  SimulatorHealthCheckError,
  SimulatorStartError,
  SimulatorStopError,
  type ModelEvalStateError,
} from '../base/errors.ts';
import { fromSeconds, groupId, ms, toSeconds, type GroupId, type Ms, type TrialId } from '../base/units.ts';
import type { ServiceGroupConfig } from '../config/parallel-config.ts';
import { diagnose, firstMatch } from '../core/resilience/start-failure.ts';
import type {
  Connector,
  Executor,
  GroupTopology,
  HttpProbe,
  LaunchPlan,
  LogPattern,
  NodeFacts,
  NodeProbe,
  Owner,
  PlannedProcess,
  RemoteProcess,
  Runtime,
} from './ports.ts';
import { watch, type RunningService, type WatchedProcess } from './running-service.ts';
import { reached, untilHealthy, type StageContext } from './stages.ts';

export interface GroupDependencies {
  readonly connector: Connector;
  readonly probe: NodeProbe;
  readonly http: HttpProbe;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly runId: string;
  readonly logPatterns: readonly LogPattern[];
  readonly engine: string;
  /** Files on nodes need the group in their name because another group could write the same. */
  readonly sharesPaths: boolean;
  readonly note: (text: string) => void;
}

/** What a start needs to know of the trial that it is for. */
export interface StartContext {
  readonly signal: AbortSignal;
  readonly trialId: TrialId;
  readonly isCurrent: boolean;
  /** A service of this run has been healthy somewhere. */
  readonly runProven: boolean;
}

interface Node {
  readonly executor: Executor;
  readonly facts: NodeFacts;
}

const commandTimeout = ms(60_000);
const portsPerGroup = 50;

/** `path` with the group and rank in it, before its extension. */
function ownPath(path: string, group: number, rank: number, needed: boolean): string {
  if (path.includes('{group_id}') || path.includes('{rank}')) {
    return path.replaceAll('{group_id}', String(group)).replaceAll('{rank}', String(rank));
  }
  if (!needed) return path;
  return path.replace(/(\.[^./]*)?$/, (extension) => `.g${group}.r${rank}${extension}`);
}

/** What a plan sees of the group; without facts (nothing connected yet) with the configured values. */
export function topologyOf(
  config: ServiceGroupConfig,
  run: { runId: string; trialId: TrialId; start: number; sharesPaths: boolean },
  nodes?: readonly Node[],
): GroupTopology {
  const id = config.group_id;
  const slot = ((id % 250) + 250) % 250;
  return {
    runId: run.runId,
    trialId: run.trialId,
    groupId: groupId(id),
    masterPort: 20_000 + slot * portsPerGroup + (run.start % portsPerGroup),
    settings: config,
    nodes: config.nodes.map((node, rank) => ({
      rank,
      host: node.host,
      address: nodes?.[rank]?.executor.address ?? node.host,
      deviceIds: node.npu_ids,
      deviceType: nodes?.[rank]?.facts.deviceType ?? node.device_type ?? 'npu',
      workDir: nodes?.[rank]?.facts.workDir ?? node.work_dir,
      configPath: ownPath(config.config_path, id, rank, run.sharesPaths),
    })),
  };
}

async function closeAll(executors: readonly Executor[]): Promise<void> {
  await Promise.all(executors.map(async (executor) => executor[Symbol.asyncDispose]()));
}

/** Machines that host one instance of the service at a time, reached through one executor each. */
export class ServiceGroup implements AsyncDisposable {
  readonly id: GroupId;
  readonly config: ServiceGroupConfig;
  readonly #deps: GroupDependencies;
  #nodes: Node[] = [];
  #starts = 0;
  #proven = false;

  constructor(config: ServiceGroupConfig, dependencies: GroupDependencies) {
    this.id = groupId(config.group_id);
    this.config = config;
    this.#deps = dependencies;
  }

  get hosts(): readonly string[] {
    return this.config.nodes.map((node) => node.host);
  }

  /** A service of this run has been healthy here. */
  get proven(): boolean {
    return this.#proven;
  }

  /**
   * Connects what is not connected, looks around on every node, and ends what this run left there.
   * @throws CommunicationError, ConfigurationError; a group that fails here has no executors and runs nothing
   */
  async connect(signal: AbortSignal, options: { readonly retry: boolean }): Promise<void> {
    const kept = this.#nodes;
    this.#nodes = [];
    let executors: Executor[] = [];
    try {
      executors = await this.#executors(kept, signal, options);
      this.#nodes = await settleAll(
        executors.map(async (executor, rank) => this.#inspect(executor, rank, signal)),
      );
      await this.#reap(ms(0));
    } catch (error) {
      this.#nodes = [];
      await closeAll(executors);
      throw error;
    }
    for (const { facts, executor } of this.#nodes) {
      if (facts.warning !== undefined) this.#deps.note(`${executor.host}: ${facts.warning}`);
    }
  }

  topology(trialId: TrialId): GroupTopology {
    const { runId, sharesPaths } = this.#deps;
    return topologyOf(this.config, { runId, trialId, start: this.#starts, sharesPaths }, this.#nodes);
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
    await this.#refuseForeignService(plan, context.signal);
    const started: WatchedProcess[] = [];
    try {
      await this.#writeFiles(plan, context.signal);
      return await this.#launch(plan, context, started);
    } catch (error) {
      await this.#stop(plan, started);
      throw error;
    }
  }

  /** Ends what this run has on the group's nodes, as far as they can be reached, and closes the connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    const nodes = this.#nodes;
    this.#nodes = [];
    await closeAll(nodes.map(({ executor }) => executor));
  }

  async #executors(
    kept: readonly Node[],
    signal: AbortSignal,
    options: { readonly retry: boolean },
  ): Promise<Executor[]> {
    const usable = kept.filter(({ executor }) => !executor.lost.aborted);
    const outcomes = await Promise.allSettled(
      this.config.nodes.map(async (node) => {
        const open = usable.find(({ executor }) => executor.host === node.host);
        return open?.executor ?? (await this.#deps.connector.connect(node, signal, options));
      }),
    );
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    const open = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    if (failed === undefined) return open;
    await closeAll(open);
    throw failed.reason;
  }

  async #inspect(executor: Executor, rank: number, signal: AbortSignal): Promise<Node> {
    const node = need(this.config.nodes[rank], 'node');
    return { executor, facts: await this.#deps.probe.inspect(executor, node, signal) };
  }

  #owner(rank: number): Owner {
    return { runId: this.#deps.runId, groupId: this.id, rank };
  }

  /** Something that answers before we start would be measured in our place. */
  async #refuseForeignService(plan: LaunchPlan, signal: AbortSignal): Promise<void> {
    const url = new URL(plan.probe.url);
    const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
    if (!(await this.#deps.http.listens(url.hostname.replace(/^\[|\]$/g, ''), port, signal))) return;
    throw new SimulatorStartError(
      this.#deps.engine,
      `port ${port} of ${url.hostname} is in use by something that is not ours`,
      undefined,
      {
        blame: 'node',
        remedy: `Stop what listens there, or run \`optimizer clean\`, or change the port of health_check_url.`,
      },
    );
  }

  async #writeFiles(plan: LaunchPlan, signal: AbortSignal): Promise<void> {
    await settleAll(
      plan.files.map(async ({ rank, path, content }) =>
        need(this.#nodes[rank], 'node').executor.writeFile(path, content, signal),
      ),
    );
  }

  async #launch(plan: LaunchPlan, context: StartContext, started: WatchedProcess[]): Promise<RunningService> {
    const began = this.#deps.clock.now();
    const ended = (watched: WatchedProcess, code: number): ModelEvalStateError =>
      this.#death(watched, code, context);
    const fatal = childController();
    let failed: AbortSignal | undefined;
    for (const stage of plan.stages) {
      const processes = await settleAll(
        stage.processes.map(async (process) => this.#spawn(process, context, started)),
      );
      this.#watchLogs(processes, fatal);
      failed = watch(started, ended);
      const limit = (): Error => this.#timeout(plan, stage.timeout);
      using bounded = deadline(stage.timeout, limit, context.signal, failed, fatal.signal);
      await reached(stage.until, this.#stageContext(plan, started, bounded.signal));
    }
    const signal = need(failed, 'stage');
    const last = need(plan.stages.at(-1), 'stage');
    const left = ms(Math.max(0, last.timeout - (this.#deps.clock.now() - began)));
    using bounded = deadline(
      left,
      () => this.#timeout(plan, last.timeout),
      context.signal,
      signal,
      fatal.signal,
    );
    await untilHealthy(plan.probe, this.#stageContext(plan, started, bounded.signal));
    this.#proven = true;
    return this.#handle(plan, started, signal);
  }

  /** A line that tells the end ends the wait, before the process notices itself. */
  #watchLogs(processes: readonly WatchedProcess[], fatal: ChildController): void {
    const patterns = this.#deps.logPatterns.filter((pattern) => pattern.fatal);
    for (const { process, host } of processes) {
      process.onLine((line) => {
        const match = firstMatch([line], patterns);
        if (match === undefined || fatal.signal.aborted) return;
        const { blame, remedy } = match.pattern;
        const reason = `${line.trim().slice(0, 300)} (${host}, ${process.logFile})`;
        fatal.abort(new SimulatorStartError(this.#deps.engine, reason, undefined, { blame, remedy }));
      });
    }
  }

  #stageContext(plan: LaunchPlan, started: readonly WatchedProcess[], signal: AbortSignal): StageContext {
    return {
      clock: this.#deps.clock,
      http: this.#deps.http,
      signal,
      executor: (rank) => need(this.#nodes[rank], 'node').executor,
      processes: started,
      address: (rank) => need(this.#nodes[rank], 'node').executor.address,
      silenceTimeout: plan.silenceTimeout,
      silent: (seconds) => this.#silent(seconds),
      alive: async () => plan.detached || (await this.#count(signal)) > 0,
      vanished: () => this.#vanished(started),
    };
  }

  async #spawn(
    planned: PlannedProcess,
    context: StartContext,
    started: WatchedProcess[],
  ): Promise<WatchedProcess> {
    const { rank, role, command } = planned;
    const { executor, facts } = need(this.#nodes[rank], 'node');
    const owner = this.#owner(rank);
    const directory = `${facts.workDir}/runs/${owner.runId}/g${owner.groupId}-r${rank}`;
    const process = await executor.spawn(this.#deps.runtime.wrap(command, owner), {
      signal: context.signal,
      directory,
      logFile: `${directory}/trial-${context.trialId}-${role}-${this.#starts}.log`,
      token: this.#deps.runtime.token(owner),
    });
    const watched = { rank, host: executor.host, process };
    started.push(watched);
    return watched;
  }

  #handle(plan: LaunchPlan, started: readonly WatchedProcess[], died: AbortSignal): RunningService {
    const main = need(started.at(-1), 'process').process;
    const child = childController(died);
    if (!plan.detached) void this.#watchChildren(main, started, child);
    return {
      target: plan.target,
      failed: child.signal,
      logFile: main.logFile,
      tail: () =>
        started
          .map(({ host, process }) => `==> ${host} ${process.logFile}\n${process.tail.join('\n')}\n`)
          .join('\n'),
      [Symbol.asyncDispose]: async () => {
        child.abort(new SimulatorStopError(this.#deps.engine, undefined, 'it is being stopped'));
        child[Symbol.dispose]();
        await this.#stop(plan, started);
      },
    };
  }

  /** A start script that returned 0 left its children to us: the service lives as long as one of them does. */
  async #watchChildren(
    main: RemoteProcess,
    started: readonly WatchedProcess[],
    service: ChildController,
  ): Promise<void> {
    try {
      await abortable(main.exited, service.signal);
      while ((await this.#count(service.signal)) > 0) await this.#deps.clock.sleep(ms(1000), service.signal);
      service.abort(this.#vanished(started));
    } catch (error) {
      if (!service.signal.aborted) service.abort(error);
    }
  }

  /** Gracefully, then by force, then the proof. It runs because a signal fired, so it does not obey one. */
  async #stop(plan: LaunchPlan, started: readonly WatchedProcess[]): Promise<void> {
    const grace = fromSeconds(this.config.stop_grace);
    using limit = deadline(
      ms(grace + commandTimeout),
      () => new SimulatorStopError(this.#deps.engine, undefined, 'it took too long'),
    );
    try {
      await this.#askToStop(plan, limit.signal);
      await this.#reap(grace);
    } finally {
      for (const { process } of started) process[Symbol.dispose]();
    }
  }

  async #askToStop(plan: LaunchPlan, signal: AbortSignal): Promise<void> {
    for (const { rank, command } of plan.stop) {
      const { executor } = need(this.#nodes[rank], 'node');
      const timeout = ms(fromSeconds(this.config.stop_grace) + 30_000);
      try {
        await executor.run(this.#deps.runtime.wrap(command, this.#owner(rank)), { signal, timeout });
      } catch (error) {
        this.#deps.note(`stop script on ${executor.host}: ${(error as Error).message}; ending its processes`);
      }
    }
  }

  async #reap(grace: Ms): Promise<void> {
    const results = await settleAll(
      this.#nodes.map(async ({ executor }, rank) => {
        using limit = childController();
        const command = this.#deps.runtime.reap(this.#owner(rank), grace);
        const timeout = ms(grace + commandTimeout);
        const { stdout } = await executor.run(command, { signal: limit.signal, timeout });
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

  async #count(signal: AbortSignal): Promise<number> {
    const counts = await settleAll(
      this.#nodes.map(async ({ executor }, rank) => {
        const command = this.#deps.runtime.count(this.#owner(rank));
        const { stdout } = await executor.run(command, { signal, timeout: commandTimeout });
        return Number(stdout.trim());
      }),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  #death({ host, process }: WatchedProcess, exitCode: number, context: StartContext): ModelEvalStateError {
    const { isCurrent, runProven } = context;
    const patterns = this.#deps.logPatterns;
    const found = diagnose({
      exitCode,
      tail: process.tail,
      patterns,
      groupProven: this.#proven,
      runProven: runProven || this.#proven,
      isCurrent,
    });
    return new SimulatorStartError(
      this.#deps.engine,
      `${found.reason} (${host}, ${process.logFile})`,
      undefined,
      { blame: found.blame, remedy: found.remedy },
    );
  }

  #timeout(plan: LaunchPlan, limit: Ms): ModelEvalStateError {
    return new SimulatorHealthCheckError(this.#deps.engine, plan.probe.url, undefined, {
      blame: 'node',
      remedy: `Not healthy within ${toSeconds(limit)} s: raise health_check_timeout, or check health_check_url.`,
    });
  }

  #silent(seconds: number): ModelEvalStateError {
    return new SimulatorStartError(
      this.#deps.engine,
      `nothing in its log for ${seconds.toFixed(0)} s`,
      undefined,
      {
        blame: 'node',
        remedy: 'It hangs; see the service log, or raise start_silence_timeout.',
      },
    );
  }

  #vanished(started: readonly WatchedProcess[]): ModelEvalStateError {
    const main = need(started.at(-1), 'process');
    const found = firstMatch(main.process.tail, this.#deps.logPatterns);
    return new SimulatorStartError(
      this.#deps.engine,
      `the start script returned 0 but left no process behind (${main.host}, ${main.process.logFile})${found === undefined ? '' : `: ${found.line}`}`,
      undefined,
      {
        blame: found?.pattern.blame ?? (this.#proven ? 'params' : 'operator'),
        remedy:
          found?.pattern.remedy ??
          'Let the script start the service; set stop_script where another manager (docker, systemd) runs it.',
      },
    );
  }
}
