import type { ModelEvalStateError } from '../base/errors.ts';
import { asOptimizerError, CommunicationError } from '../base/errors.ts';
import type { TrialPhase } from '../base/events.ts';
import { redactSecrets } from '../base/redact.ts';
import { ms, type Ms } from '../base/units.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import { readBack } from './read-back.ts';
import { serviceVersion } from './service-version.ts';
import type { RunningService } from './running-service.ts';
import { isOfLoad, type LoadTrial } from './load-trial.ts';
import { Measuring, type EvaluationDependencies, type Measurement } from './measuring.ts';
import type { KeptService, Told } from './kept-service.ts';
import type { ServiceGroup } from './service-group.ts';

/** What one attempt cost and gave. */
export interface Attempt {
  /** Of all starts that it took. */
  readonly start: Ms;
  readonly benchmark: Ms;
  /** Services that it started; 0: it used one that ran already. */
  readonly starts: number;
  readonly outcome: { readonly measured: Measurement } | { readonly error: ModelEvalStateError };
  /** The service could not be stopped: the group needs a repair whatever was measured. */
  readonly stopError: ModelEvalStateError | undefined;
}

/** One trial on one group. */
interface Job {
  readonly group: ServiceGroup;
  readonly suggestion: Suggestion;
  readonly attempt: number;
  readonly signal: AbortSignal;
  /** It tells of the group, not of the configuration. */
  readonly isOfGroup?: boolean | undefined;
}

/** What has become of an attempt so far. */
interface Progress {
  starting: number;
  starts: number;
  /** What runs for it now. */
  kept: KeptService | undefined;
  /** Its service ended under a load that was too much for it. */
  isBroken: boolean;
}

const withTold = (measured: Measurement, told: Told): Measurement => ({
  ...measured,
  verdict: { ...measured.verdict, ...told },
});

/** Measures one configuration on one group: start, benchmark. Its service is kept until another one is needed there. */
export class Evaluation {
  readonly #deps: EvaluationDependencies;
  readonly #measuring: Measuring;
  #runProven = false;

  constructor(dependencies: EvaluationDependencies) {
    this.#deps = dependencies;
    this.#measuring = new Measuring(dependencies);
  }

  /** @throws only when aborted: every failure is an outcome */
  async attempt(
    group: ServiceGroup,
    suggestion: Suggestion,
    attempt: number,
    signal: AbortSignal,
    isOfGroup?: boolean,
  ): Promise<Attempt> {
    const { clock, reuseService } = this.#deps;
    const began = clock.now();
    const progress: Progress = { starting: 0, starts: 0, kept: undefined, isBroken: false };
    let outcome: Attempt['outcome'];
    try {
      outcome = {
        measured: await this.#measure({ group, suggestion, attempt, signal, isOfGroup }, progress),
      };
    } catch (error) {
      // Whoever waits for the present configuration would hold the group that its retry needs.
      if (suggestion.origin === 'current') this.#deps.speedTarget?.giveUp();
      outcome = { error: asOptimizerError(error) };
    }
    const total = clock.now() - began;
    const { kept, starts } = progress;
    let stopError: ModelEvalStateError | undefined;
    const isAlive = kept?.service.failed.aborted === false && !progress.isBroken;
    const isSound = 'measured' in outcome && !signal.aborted && isAlive;
    if (kept !== undefined && isSound && reuseService) {
      await this.#deps.store.keep(suggestion.trialId, 'service.log', () => kept.service.tail());
      group.keep(kept);
    } else if (kept !== undefined) stopError = await this.#stop(group, kept);
    signal.throwIfAborted();
    // Out of reach, a machine looks like a service that died of its configuration.
    if ('error' in outcome && stopError instanceof CommunicationError) outcome = { error: stopError };
    return {
      ...{ starts, outcome, stopError },
      start: ms(progress.starting),
      benchmark: ms(total - progress.starting),
    };
  }

  /** At the loads that the search asks for; a load that ends the service costs another start, once. */
  async #measure(job: Job, progress: Progress): Promise<Measurement> {
    const { group, suggestion } = job;
    const loads = this.#measuring.loadsOf(suggestion);
    for (let restarts = 0; ; restarts++) {
      const kept = await this.#ready(job, progress);
      this.#phase(group, suggestion, 'benchmark');
      try {
        const measured = await this.#measuring.run({ ...job, service: kept.service, loads });
        return withTold(measured, kept.told);
      } catch (error) {
        const served = servedBefore(error, loads, restarts);
        if (served !== undefined) {
          progress.isBroken = true;
          return withTold(served, kept.told);
        }
        progress.kept = undefined;
        const stopError = await this.#stop(group, kept);
        if (stopError !== undefined) throw stopError;
      }
    }
  }

  /** The service of the configuration: the one that runs there already, or a new one in its place. */
  async #ready(job: Job, progress: Progress): Promise<KeptService> {
    const { clock, serverKey } = this.#deps;
    const { group, suggestion, signal } = job;
    const key = serverKey(suggestion.params);
    const began = clock.now();
    try {
      const before = group.take();
      if (before !== undefined) {
        progress.kept = before;
        if (before.key === key && (await stillServes(before, signal))) return before;
        progress.kept = undefined;
        const stopError = await this.#stop(group, before);
        if (stopError !== undefined) throw stopError;
      }
      progress.starts++;
      const service = await this.#start(group, suggestion, signal);
      const kept: KeptService = { service, key, trialId: suggestion.trialId, told: {} };
      progress.kept = kept;
      progress.kept = { ...kept, told: await this.#ask(group, service, suggestion, signal) };
      return progress.kept;
    } finally {
      progress.starting += clock.now() - began;
    }
  }

  async #start(group: ServiceGroup, suggestion: Suggestion, signal: AbortSignal): Promise<RunningService> {
    const { engine, engineConfig, store } = this.#deps;
    const { trialId } = suggestion;
    this.#phase(group, suggestion, 'start');
    const plan = engine.plan(engineConfig, suggestion.params, group.topology(trialId));
    const written = (): string => `${JSON.stringify(plan, redactSecrets, 2)}\n`;
    const kept = store.keep(trialId, 'plan.json', written);
    kept.catch(() => undefined); // a disk that is full stops the run at the journal
    const isCurrent = suggestion.origin === 'current';
    const service = await group.start(plan, { signal, trialId, isCurrent, runProven: this.#runProven });
    this.#runProven = true;
    return service;
  }

  /** What a healthy service says of itself. @throws SimulatorStartError for a value that it ignored */
  async #ask(
    group: ServiceGroup,
    { target }: RunningService,
    { trialId, params }: Suggestion,
    signal: AbortSignal,
  ): Promise<Told> {
    const { engine, engineConfig } = this.#deps;
    const { reach } = group;
    const wanted = engine.readBack?.(engineConfig, params, group.topology(trialId));
    const effects = wanted && (await readBack(engine.name, wanted, params, reach, signal));
    const version = await serviceVersion(target.baseUrl, reach, signal);
    return {
      ...(effects === undefined ? {} : { effects }),
      ...(version === undefined ? {} : { engine_version: version }),
    };
  }

  async #stop(
    group: ServiceGroup,
    { service, trialId }: KeptService,
  ): Promise<ModelEvalStateError | undefined> {
    this.#phase(group, { trialId }, 'stop');
    const kept = this.#deps.store.keep(trialId, 'service.log', () => service.tail());
    try {
      await service[Symbol.asyncDispose]();
      return undefined;
    } catch (error) {
      return asOptimizerError(error);
    } finally {
      await kept;
    }
  }

  #phase(group: ServiceGroup, { trialId }: Pick<Suggestion, 'trialId'>, phase: TrialPhase): void {
    this.#deps.events.emit({ type: 'trial.phase', trialId, groupId: group.id, phase });
  }
}

/**
 * What a configuration served before a load was too much for it; undefined: a smaller load is worth another start.
 * @throws the error where there is neither
 */
function servedBefore(
  error: unknown,
  loads: LoadTrial | undefined,
  restarts: number,
): Measurement | undefined {
  if (loads === undefined || !isOfLoad(error)) throw error;
  if (restarts === 0 && loads.next() !== undefined) return undefined;
  if (loads.hasResult) return loads.result();
  throw error;
}

async function stillServes({ service }: KeptService, signal: AbortSignal): Promise<boolean> {
  if (service.failed.aborted) return false;
  try {
    await service.stillAnswers(signal);
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}
