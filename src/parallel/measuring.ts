import { childController, deadline } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import { FitnessCalculationError, IPCTimeoutError, ModelEvalStateError } from '../base/errors.ts';
import type { EventSink } from '../base/events.ts';
import { ms, toSeconds, type GroupId, type Ms, type TrialId } from '../base/units.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import type { tooFew } from '../core/fitness/enough.ts';
import { activeSlos } from '../core/fitness/slo.ts';
import { isSearch, type Suggestion } from '../core/pso/optimizer.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import { secondStageRate } from '../core/tuning/load-fields.ts';
import { blamedByWords } from './benchmark-words.ts';
import type {
  Benchmark,
  BenchmarkContext,
  BenchmarkResult,
  Engine,
  LoadPlace,
  LogPattern,
  RawOutput,
  RunStore,
  ToolHost,
} from './ports.ts';
import { better, isHopeless, type Incumbent, type Limit } from './incumbent.ts';
import { isOfLoad, LoadTrial, type LoadSearchSettings } from './load-trial.ts';
import type { LoadPoint, ScoredRecord, Verdict } from './records.ts';
import { score, scoreCensored } from './scoring.ts';
import type { SpeedTarget } from './speed-target.ts';
import type { RunningService } from './running-service.ts';
import type { GroupSpeeds } from './group-speeds.ts';
import type { ServiceGroup } from './service-group.ts';

export interface EvaluationDependencies {
  readonly engine: Engine;
  readonly engineConfig: unknown;
  /** Where load tools run that run on no node of the group. */
  toolHost(
    place: Exclude<LoadPlace, 'master'>,
    trial: { readonly trialId: TrialId; readonly groupId: GroupId; readonly attempt: number },
    signal: AbortSignal,
  ): Promise<ToolHost>;
  readonly benchmark: Benchmark;
  readonly benchmarkConfig: unknown;
  readonly fitness: FitnessSettings;
  /** The statistics of latencies that decide. */
  readonly judgedBy: Parameters<typeof tooFew>[0];
  readonly clock: Clock;
  readonly events: EventSink;
  readonly store: RunStore;
  readonly seed: number;
  /** At most so many prompts, while the swarm searches. */
  readonly sampleSize: number | undefined;
  /** Of one benchmark; the start has its own limits. */
  readonly evaluationTimeout: Ms;
  /** Where the throughput to aim at follows from the present configuration. */
  readonly speedTarget: SpeedTarget | undefined;
  /** Search with as much load as possible first, then at a rate that was seen to be possible. */
  readonly twoStage: { readonly rate: Field; readonly multiplier: number } | undefined;
  /** The best so far; undefined: every benchmark runs to its end. */
  readonly incumbent: Incumbent | undefined;
  /** The load of every configuration is searched on its running service; undefined: it is given. */
  readonly loadSearch: LoadSearchSettings | undefined;
  /** Services are kept for the next trial. */
  readonly reuseService: boolean;
  /** Equal for configurations that one running service can be measured with. */
  readonly serverKey: (params: ServingParams) => string;
  /** What the user knows of the words of the load tool. */
  readonly benchmarkPatterns: readonly LogPattern[];
  /** How groups differ; undefined: they are taken as they are. */
  readonly speeds: GroupSpeeds | undefined;
  /** How often the benchmark is repeated on the same service when the load tool itself fails. */
  readonly benchmarkRetries: number;
}

export interface Measurement {
  readonly verdict: Extract<Verdict, { kind: 'scored' }>;
  readonly numPrompts: number;
  /** Where measuring chose a load of its own. */
  readonly params?: ServingParams;
  /** All loads that were tried for it. */
  readonly curve?: readonly LoadPoint[];
  /** Of the present configuration, at its own load; null where that could not be measured. */
  readonly asIs?: Pick<ScoredRecord, 'params' | 'verdict'> | null;
  /** At the load that is the better answer, where that is another one. */
  readonly fastest?: Pick<ScoredRecord, 'params' | 'verdict'>;
}

/** What a reader of latencies must know. */
const forwardedFlag = 'the load went through SSH, which is in the latencies';

/** A dying service looks like a failing benchmark at first: its own word has this long to arrive. */
const lastWord = ms(500);

interface Job {
  readonly group: ServiceGroup;
  readonly service: RunningService;
  readonly suggestion: Suggestion;
  readonly attempt: number;
  readonly signal: AbortSignal;
  /** The loads to try; undefined: that of the suggestion. */
  readonly loads?: LoadTrial | undefined;
  /** Its numbers are not what is judged. */
  readonly isProbe?: boolean;
  /** It tells of the group, not of the configuration. */
  readonly isOfGroup?: boolean | undefined;
}

/** Loads a running service and scores what comes of it. */
export class Measuring {
  readonly #deps: EvaluationDependencies;

  constructor(dependencies: EvaluationDependencies) {
    this.#deps = dependencies;
  }

  /** The loads that a suggestion is to be measured at; undefined: its own. */
  loadsOf(suggestion: Suggestion): LoadTrial | undefined {
    const { loadSearch } = this.#deps;
    const isSearched = isSearch(suggestion) || suggestion.origin === 'current';
    return loadSearch && isSearched ? new LoadTrial(suggestion, loadSearch) : undefined;
  }

  /** @throws whose fault it is that nothing was measured, or that the service is gone before all loads were tried */
  async run(job: Job): Promise<Measurement> {
    const { loads, suggestion, attempt, signal } = job;
    if (loads === undefined) return this.#repeated({ ...job, attempt: attempt * 100 });
    for (let params = loads.next(), probe = 0; params !== undefined; params = loads.next(), probe++) {
      try {
        const measured = await this.#repeated({
          ...job,
          suggestion: { ...suggestion, params },
          attempt: (attempt * 100 + probe) * 100,
        });
        loads.measured(params, measured);
      } catch (error) {
        signal.throwIfAborted();
        if (!isOfLoad(error)) throw error;
        loads.failed(params, error);
        await job.service.stillAnswers(signal);
      }
    }
    return loads.result();
  }

  /** Again on the same service where the load tool itself failed. @throws whose fault it is that nothing was measured */
  async #repeated(job: Job): Promise<Measurement> {
    const { service, signal } = job;
    for (let repeat = 0; ; repeat++) {
      try {
        return await this.#stages({ ...job, attempt: job.attempt + repeat });
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
  async #stages(job: Job): Promise<Measurement> {
    const { suggestion } = job;
    const { rate, multiplier } = this.#deps.twoStage ?? {};
    if (rate === undefined || multiplier === undefined || !isSearch(suggestion)) {
      return this.#measure(job);
    }
    const unlimited = { ...suggestion.params, [rate.name]: Infinity };
    const first = await this.#measure({
      ...job,
      isProbe: true,
      suggestion: { ...suggestion, params: unlimited },
    });
    const { throughput } = first.verdict.performance;
    if (throughput === null) {
      throw new FitnessCalculationError('the benchmark reported no throughput', undefined, {
        remedy: 'Choose another load_search, or use a benchmark that measures requests/s.',
      });
    }
    const params = { ...suggestion.params, [rate.name]: secondStageRate(rate, throughput, multiplier) };
    const second = await this.#measure({
      ...job,
      suggestion: { ...suggestion, params },
      attempt: job.attempt + 50,
    });
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

  async #measure(job: Job): Promise<Measurement> {
    const { group, service, suggestion, attempt, signal } = job;
    const limit = this.#limitOf(job);
    const { benchmark, benchmarkConfig, clock, events, store, seed, evaluationTimeout: timeout } = this.#deps;
    const { trialId, params } = suggestion;
    const { sampleSize } = this.#deps;
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
      sampleSize: isSearch(suggestion) ? sampleSize : undefined,
      percentiles: this.#deps.judgedBy.map(({ statistic }) => statistic),
      canary: suggestion.origin === 'confirmation',
      mustAllSucceed: activeSlos(this.#deps.fitness).some(
        ({ name, limit: share, soft, slack }) =>
          name === 'success_rate' && share >= 1 && !soft && slack === 0,
      ),
      isHopeless: limit && ((bounds) => isHopeless(bounds, limit, this.#deps.fitness)),
      toolHost: async (where) =>
        where === 'master'
          ? group.toolHost(trialId, attempt)
          : this.#deps.toolHost(where, trial, bounded.signal),
      keep: async ({ name, content }: RawOutput) => store.keep(trialId, name, () => content),
      progress: (done, total) => {
        events.emit({ type: 'trial.progress', trialId, groupId: group.id, done, total });
      },
    };
    let result: BenchmarkResult;
    try {
      const where = benchmark.preview?.(benchmarkConfig, service.target, params).where;
      const isHere = where === undefined || where === 'controller';
      const { reach } = group;
      const target = isHere ? await reach.target(service.target, bounded.signal) : service.target;
      result = await benchmark.run(benchmarkConfig, target, params, context);
      if (isHere && reach.isForwarded) result = { ...result, flags: [...result.flags, forwardedFlag] };
    } catch (error) {
      bounded.signal.throwIfAborted();
      throw blamedByWords(error, this.#deps.benchmarkPatterns);
    }
    for (const output of result.raw) await context.keep(output);
    return result.censored !== undefined && limit !== undefined
      ? scoreCensored(result, result.censored.running, limit, this.#deps.fitness)
      : await score(result, job, this.#deps);
  }

  /** What a measurement of the search must be able to reach; undefined: it runs to its end. */
  #limitOf({ suggestion, loads, group, isProbe = false }: Job): Limit | undefined {
    const { incumbent, speedTarget, speeds } = this.#deps;
    // What is scaled at its end cannot be compared before.
    if (speeds?.isScaled(group.id) === true) return undefined;
    // With a target that is still to come costs cannot be compared.
    if (incumbent === undefined || speedTarget !== undefined || isProbe) return undefined;
    const isJudged = isSearch(suggestion) || loads?.asIs !== undefined;
    return isJudged ? better(incumbent.limit, loads?.limit) : undefined;
  }
}
