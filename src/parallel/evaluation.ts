import type { ModelEvalStateError } from '../base/errors.ts';
import { asOptimizerError, CommunicationError } from '../base/errors.ts';
import type { TrialPhase } from '../base/events.ts';
import { redactSecrets } from '../base/redact.ts';
import { ms, type Ms } from '../base/units.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import { readBack } from './read-back.ts';
import type { Effects } from './records.ts';
import type { RunningService } from './running-service.ts';
import { Measuring, type EvaluationDependencies, type Measurement } from './measuring.ts';
import type { ServiceGroup } from './service-group.ts';

/** What one attempt cost and gave. */
export interface Attempt {
  readonly start: Ms;
  readonly benchmark: Ms;
  readonly outcome: { readonly measured: Measurement } | { readonly error: ModelEvalStateError };
  /** The service could not be stopped: the group needs a repair whatever was measured. */
  readonly stopError: ModelEvalStateError | undefined;
}

function withEffects(measured: Measurement, effects: Effects | undefined): Measurement {
  return effects === undefined ? measured : { ...measured, verdict: { ...measured.verdict, effects } };
}

/** Measures one configuration on one group: start, benchmark, stop. */
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
  ): Promise<Attempt> {
    const { clock } = this.#deps;
    const began = clock.now();
    let healthy: Ms | undefined;
    let outcome: Attempt['outcome'];
    let service: RunningService | undefined;
    try {
      service = await this.#start(group, suggestion, signal);
      const effects = await this.#readBack(group, suggestion, signal);
      healthy = clock.now();
      this.#phase(group, suggestion, 'benchmark');
      const measured = await this.#measuring.run({ group, service, suggestion, attempt, signal });
      outcome = { measured: withEffects(measured, effects) };
    } catch (error) {
      // Whoever waits for the present configuration would hold the group that its retry needs.
      if (suggestion.origin === 'current') this.#deps.speedTarget?.giveUp();
      outcome = { error: asOptimizerError(error) };
    }
    const ended = clock.now();
    const stopError = service === undefined ? undefined : await this.#stop(group, service, suggestion);
    signal.throwIfAborted();
    // Out of reach, a machine looks like a service that died of its configuration.
    if ('error' in outcome && stopError instanceof CommunicationError) outcome = { error: stopError };
    return {
      start: ms((healthy ?? ended) - began),
      benchmark: ms(ended - (healthy ?? ended)),
      outcome,
      stopError,
    };
  }

  async #start(group: ServiceGroup, suggestion: Suggestion, signal: AbortSignal): Promise<RunningService> {
    const { engine, engineConfig, store } = this.#deps;
    const { trialId } = suggestion;
    this.#phase(group, suggestion, 'start');
    const plan = engine.plan(engineConfig, suggestion.params, group.topology(trialId));
    const kept = store.keep(trialId, 'plan.json', `${JSON.stringify(plan, redactSecrets, 2)}\n`);
    kept.catch(() => undefined); // a disk that is full stops the run at the journal
    const isCurrent = suggestion.origin === 'current';
    const service = await group.start(plan, { signal, trialId, isCurrent, runProven: this.#runProven });
    this.#runProven = true;
    return service;
  }

  async #readBack(
    group: ServiceGroup,
    { trialId, params }: Suggestion,
    signal: AbortSignal,
  ): Promise<Effects | undefined> {
    const { engine, engineConfig, http } = this.#deps;
    const wanted = engine.readBack?.(engineConfig, params, group.topology(trialId));
    return wanted && (await readBack(engine.name, wanted, params, http, signal));
  }

  async #stop(
    group: ServiceGroup,
    service: RunningService,
    suggestion: Suggestion,
  ): Promise<ModelEvalStateError | undefined> {
    this.#phase(group, suggestion, 'stop');
    const tail = service.tail();
    try {
      await service[Symbol.asyncDispose]();
      return undefined;
    } catch (error) {
      return asOptimizerError(error);
    } finally {
      await this.#deps.store.keep(suggestion.trialId, 'service.log', tail);
    }
  }

  #phase(group: ServiceGroup, { trialId }: Suggestion, phase: TrialPhase): void {
    this.#deps.events.emit({ type: 'trial.phase', trialId, groupId: group.id, phase });
  }
}
