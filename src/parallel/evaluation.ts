import { childController, deadline } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import {
  FitnessCalculationError,
  IPCTimeoutError,
  ModelEvalStateError,
  asOptimizerError,
} from '../base/errors.ts';
import type { EventSink, TrialPhase } from '../base/events.ts';
import { redactSecrets } from '../base/redact.ts';
import { ms, toSeconds, type GroupId, type Ms, type TrialId } from '../base/units.ts';
import { fitness, type FitnessSettings } from '../core/fitness/fitness.ts';
import { violations } from '../core/fitness/slo.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import { secondStageRate } from '../core/tuning/load-fields.ts';
import { readBack, type Effects } from './read-back.ts';
import type {
  Benchmark,
  BenchmarkContext,
  BenchmarkResult,
  Engine,
  HttpProbe,
  RawOutput,
  RunStore,
  ToolHost,
} from './ports.ts';
import type { Verdict } from './records.ts';
import type { RunningService } from './running-service.ts';
import type { ServiceGroup } from './service-group.ts';

export interface EvaluationDependencies {
  readonly engine: Engine;
  readonly engineConfig: unknown;
  readonly http: HttpProbe;
  /** Where load tools run on the controller. */
  controller(trial: {
    readonly trialId: TrialId;
    readonly groupId: GroupId;
    readonly attempt: number;
  }): Promise<ToolHost>;
  readonly benchmark: Benchmark;
  readonly benchmarkConfig: unknown;
  readonly fitness: FitnessSettings;
  readonly clock: Clock;
  readonly events: EventSink;
  readonly store: RunStore;
  readonly seed: number;
  /** At most so many prompts, while the swarm searches. */
  readonly sampleSize: number | undefined;
  /** Of one benchmark; the start has its own limits. */
  readonly evaluationTimeout: Ms;
  /** Search with as much load as possible first, then at a rate that was seen to be possible. */
  readonly twoStage: { readonly rate: Field | undefined } | undefined;
  /** How often the benchmark is repeated on the same service when the load tool itself fails. */
  readonly benchmarkRetries: number;
}

export interface Measurement {
  readonly verdict: Extract<Verdict, { kind: 'scored' }>;
  readonly numPrompts: number;
  /** Where measuring chose a load of its own. */
  readonly params?: ServingParams;
}

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

/** Trials whose numbers only have to be good enough to go on; the others are what an answer is made of. */
const searches: readonly Suggestion['origin'][] = ['preset', 'initial', 'swarm', 'jitter', 'random'];

/** A dying service looks like a failing benchmark at first: its own word has this long to arrive. */
const lastWord = ms(500);

/** Measures one configuration on one group: start, benchmark, stop. */
export class Evaluation {
  readonly #deps: EvaluationDependencies;
  #runProven = false;

  constructor(dependencies: EvaluationDependencies) {
    this.#deps = dependencies;
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
      const measured = await this.#benchmark(group, service, suggestion, attempt, signal);
      outcome = { measured: withEffects(measured, effects) };
    } catch (error) {
      outcome = { error: asOptimizerError(error) };
    }
    const ended = clock.now();
    const stopError = service === undefined ? undefined : await this.#stop(group, service, suggestion);
    signal.throwIfAborted();
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

  async #benchmark(
    group: ServiceGroup,
    service: RunningService,
    suggestion: Suggestion,
    attempt: number,
    signal: AbortSignal,
  ): Promise<Measurement> {
    for (let repeat = 0; ; repeat++) {
      try {
        return await this.#stages(group, service, suggestion, attempt * 100 + repeat, signal);
      } catch (error) {
        signal.throwIfAborted();
        await this.#preferLastWord(service, signal);
        await service.stillAnswers(signal);
        const again = error instanceof ModelEvalStateError && error.blame === 'benchmark';
        if (!again || repeat >= this.#deps.benchmarkRetries) throw error;
      }
    }
  }

  /** One benchmark, or two on the same service: the second at a rate that the first one got through. */
  async #stages(
    group: ServiceGroup,
    service: RunningService,
    suggestion: Suggestion,
    attempt: number,
    signal: AbortSignal,
  ): Promise<Measurement> {
    const rate = this.#deps.twoStage?.rate;
    if (rate === undefined || !searches.includes(suggestion.origin)) {
      return this.#measure(group, service, suggestion, attempt, signal);
    }
    const unlimited = Object.fromEntries(
      Object.entries(suggestion.params).filter(([name]) => name !== rate.name),
    );
    const first = await this.#measure(group, service, { ...suggestion, params: unlimited }, attempt, signal);
    const { throughput } = first.verdict.performance;
    if (throughput === null) {
      throw new FitnessCalculationError('the benchmark reported no throughput', undefined, {
        remedy: 'Switch two_stage off, or use a benchmark that measures requests/s.',
      });
    }
    const params = { ...suggestion.params, [rate.name]: secondStageRate(rate, throughput) };
    const second = await this.#measure(group, service, { ...suggestion, params }, attempt + 50, signal);
    return { ...second, params };
  }

  /** @throws the reason of the service where it is what really failed */
  async #preferLastWord(service: RunningService, signal: AbortSignal): Promise<void> {
    const { clock } = this.#deps;
    for (let waited = 0; waited < lastWord && !service.failed.aborted; waited += 50) {
      await clock.sleep(ms(50), signal);
    }
    if (service.failed.aborted) throw service.failed.reason;
  }

  async #measure(
    group: ServiceGroup,
    service: RunningService,
    suggestion: Suggestion,
    attempt: number,
    signal: AbortSignal,
  ): Promise<Measurement> {
    const { benchmark, benchmarkConfig, clock, events, store, seed, evaluationTimeout: timeout } = this.#deps;
    const { trialId, params, origin } = suggestion;
    const { sampleSize } = this.#deps;
    this.#phase(group, suggestion, 'benchmark');
    const expired = (): Error =>
      new IPCTimeoutError('benchmark', toSeconds(timeout), {
        blame: 'params',
        remedy: 'This configuration is too slow for the load, or evaluation_timeout is too short for it.',
      });
    using child = childController(signal, service.failed);
    using bounded = deadline(clock, timeout, expired, child.signal);
    const trial = { trialId, groupId: group.id, attempt };
    const context: BenchmarkContext = {
      ...{ ...trial, clock, events, runId: store.runId, seed, timeout, signal: bounded.signal },
      sampleSize: searches.includes(origin) ? sampleSize : undefined,
      toolHost: async (where) =>
        where === 'master' ? group.toolHost(trialId, attempt) : this.#deps.controller(trial),
      keep: async ({ name, content }: RawOutput) => store.keep(trialId, name, content),
    };
    let result: BenchmarkResult;
    try {
      result = await benchmark.run(benchmarkConfig, service.target, params, context);
    } catch (error) {
      bounded.signal.throwIfAborted();
      throw error;
    }
    for (const output of result.raw) await context.keep(output);
    return this.#score(result);
  }

  #score(result: BenchmarkResult): Measurement {
    const { performance, percentiles, goodput, flags, numPrompts } = result;
    const { fitness: cost, terms } = fitness(performance, this.#deps.fitness);
    return {
      numPrompts,
      verdict: {
        kind: 'scored',
        fitness: cost,
        terms,
        performance,
        percentiles,
        ...(goodput === null ? {} : { goodput }),
        violations: violations(performance, this.#deps.fitness),
        flags,
      },
    };
  }

  #phase(group: ServiceGroup, { trialId }: Suggestion, phase: TrialPhase): void {
    this.#deps.events.emit({ type: 'trial.phase', trialId, groupId: group.id, phase });
  }
}
