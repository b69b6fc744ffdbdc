import pLimit, { type LimitFunction } from 'p-limit';
import { never, settleAll } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import type { ModelEvalStateError } from '../base/errors.ts';
import type { EventSink } from '../base/events.ts';
import type { Rng } from '../base/rng.ts';
import { ms, toSeconds, trialId, type GroupId, type Ms } from '../base/units.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import { isConvicted } from '../core/resilience/conviction.ts';
import { retryDelay, shouldRetry, type RetryPolicy } from '../core/resilience/retry-policy.ts';
import type { ServingParams } from '../core/space/field.ts';
import { errorRecord } from './error-record.ts';
import type { Attempt, Evaluation } from './evaluation.ts';
import { KnownMeasurements } from './known-measurements.ts';
import type { FoundLoads } from './measurement-key.ts';
import type { RunStore } from './ports.ts';
import type { TrialRecord, Verdict } from './records.ts';
import { measuredOf, notMeasured, refused, reused, type Settled } from './settled.ts';
import { newTrial, recordOf, type Trial } from './trial.ts';
import { Tally, type DispatcherSummary } from './tally.ts';
import type { GroupComparison } from './group-comparison.ts';
import type { ServiceGroup } from './service-group.ts';
import type { ServiceGroupPool } from './service-group-pool.ts';

export interface DispatcherOptions {
  readonly pool: ServiceGroupPool;
  readonly evaluation: Evaluation;
  readonly retry: RetryPolicy;
  readonly clock: Clock;
  readonly events: EventSink;
  readonly store: RunStore;
  readonly rng: Rng;
  /** The loads that measuring finds while the swarm searches. */
  readonly found: FoundLoads | undefined;
  /** Equal for configurations that one running service can be measured with. */
  readonly serverKey: (params: ServingParams) => string;
  /** Why a configuration needs no start: the rule that it breaks, or the memory that it would take. */
  readonly broken: (suggestion: Suggestion) => string | undefined;
  /** What is done before the first trial of a group; undefined: nothing. */
  readonly comparison?: GroupComparison | undefined;
  /** Hears of every record of `evaluateParticles`. */
  readonly resultCallback?: ((record: TrialRecord) => void | Promise<void>) | undefined;
}

/**
 * Brings particles to groups: as many at the same time as there are usable groups, no barrier between them.
 * Whose fault a failure is decides whether it is retried, and where.
 */
export class ParticleDispatcher {
  readonly #options: DispatcherOptions;
  readonly #limit: LimitFunction;
  readonly #known: KnownMeasurements;
  readonly #scoredOn = new Map<GroupId, number>();
  readonly #tally = new Tally();

  constructor(options: DispatcherOptions) {
    this.#options = options;
    this.#limit = pLimit(options.pool.size);
    this.#known = new KnownMeasurements(options.found);
  }

  /** Whether a group is waiting for work. Trials that wait for their retry do not count. */
  get hasRoom(): boolean {
    // Groups come and go.
    this.#limit.concurrency = Math.max(1, this.#options.pool.size);
    return this.#limit.activeCount + this.#limit.pendingCount < this.#options.pool.usable;
  }

  /** Whether a service for this configuration waits on a group. */
  isWarm(params: ServingParams): boolean {
    const key = this.#options.serverKey(params);
    return this.#options.pool.idle().some((group) => group.runs(key));
  }

  /** A measurement of an earlier session counts for equal configurations of this one. */
  remember(record: TrialRecord): void {
    this.#known.remember(record);
  }

  /**
   * Measures configurations, as many at the same time as there are groups. The records come in the order of the
   * particles; `resultCallback` hears of each as soon as it is known.
   */
  async evaluateParticles(
    particles: readonly ServingParams[],
    signal: AbortSignal = never,
  ): Promise<TrialRecord[]> {
    const { resultCallback } = this.#options;
    const first = this.#tally.particles;
    this.#tally.dispatched(particles.length);
    const tell = async (record: TrialRecord): Promise<void> => resultCallback?.(record);
    return settleAll(
      particles.map(async (params, particle) => {
        const asked = { trialId: trialId(first + particle), particle, generation: 0, position: [], params };
        return this.evaluate({ ...asked, origin: 'initial' }, tell, signal);
      }),
    );
  }

  getSummary(): DispatcherSummary {
    return this.#tally.summary(this.#options.pool);
  }

  /**
   * Until there is a verdict, which `told` gets before the group's place is given to the next particle: the next
   * question must know this answer. What `told` promises is waited for while the place is taken already.
   * @throws when aborted, and the errors that stop a run: blame `operator` and `program`
   */
  async evaluate(
    suggestion: Suggestion,
    told: (record: TrialRecord) => Promise<void>,
    signal: AbortSignal,
  ): Promise<TrialRecord> {
    const { clock } = this.#options;
    const trial = newTrial(suggestion, clock, this.#known.groupsOf(suggestion.params));
    if (suggestion.confirms !== undefined) return this.#untilVerdict(trial, told, signal);
    const key = this.#known.key({ ...suggestion, trial_id: suggestion.trialId });
    // Without an await where there is nothing to wait for: the place must be taken before anybody asks again.
    const known = this.#known.get(key);
    const earlier = known && (await known.catch(() => undefined));
    if (earlier !== undefined && earlier.verdict.kind !== 'failed') {
      const record = this.#record(trial, reused(earlier));
      await told(record);
      return record;
    }
    // What runs today is measured, whatever is thought of it.
    const broken = suggestion.origin === 'current' ? undefined : this.#options.broken(suggestion);
    if (broken !== undefined) {
      const record = this.#record(trial, refused(broken));
      await told(record);
      return record;
    }
    const work = this.#untilVerdict(trial, told, signal);
    this.#known.set(key, work);
    const record = await work;
    this.#known.rememberEffective(record);
    return record;
  }

  async #untilVerdict(
    trial: Trial,
    told: (record: TrialRecord) => Promise<void>,
    signal: AbortSignal,
  ): Promise<TrialRecord> {
    for (let attempt = 0; ; attempt++) {
      const done = await this.#limit(async () => {
        const settled = await this.#attempt(trial, attempt, signal);
        if (settled === undefined) return undefined;
        const record = this.#record(trial, settled);
        if (record.group_id !== null) this.#known.noteGroup(record.params, record.group_id);
        return { record, told: told(record) };
      });
      const { retry, clock, rng, events, pool } = this.#options;
      pool.changed.notify();
      if (done !== undefined) {
        await done.told;
        return done.record;
      }
      const delay = retryDelay(attempt, retry, rng.next());
      const last = trial.failed.at(-1);
      events.emit({
        type: 'trial.retry',
        trialId: trial.suggestion.trialId,
        groupId: last?.group_id as GroupId,
        reason: last?.error.message ?? '',
        delaySeconds: toSeconds(delay),
      });
      await clock.sleep(delay, signal);
    }
  }

  /** undefined: try again. */
  async #attempt(trial: Trial, number: number, signal: AbortSignal): Promise<Settled | undefined> {
    const { pool, serverKey } = this.#options;
    for (;;) {
      using lease = await pool.lease(trial.avoid, serverKey(trial.suggestion.params), signal);
      const settled = await this.#attemptOn(lease.group, trial, number, signal);
      if (settled !== 'elsewhere') return settled;
    }
  }

  async #machinesFailed(
    trial: Trial,
    number: number,
    group: GroupId,
    error: ModelEvalStateError,
  ): Promise<Settled | undefined> {
    this.#options.pool.report(group, error);
    await this.#noteFailure(trial, group, error, ms(0));
    return this.#giveUp(trial, number, error, group);
  }

  async #attemptOn(
    group: ServiceGroup,
    trial: Trial,
    number: number,
    signal: AbortSignal,
  ): Promise<Settled | 'elsewhere' | undefined> {
    const { pool, evaluation, store, events, clock } = this.#options;
    const { suggestion } = trial;
    const { trialId, params } = suggestion;
    events.emit({ type: 'trial.started', trialId, groupId: group.id, params });
    const compared = await this.#options.comparison
      ?.before(group, suggestion, signal)
      .catch((error: unknown) => {
        pool.report(group.id, 'neutral');
        throw error;
      });
    if (compared === 'elsewhere') {
      pool.report(group.id, 'neutral');
      return 'elsewhere';
    }
    if (compared instanceof Error) return this.#machinesFailed(trial, number, group.id, compared);
    const started = store.append({
      type: 'started',
      at: clock.wallTime().toISOString(),
      trial_id: trialId,
      group_id: group.id,
    });
    started.catch(() => undefined); // what cannot be written now cannot be told later, which stops the run
    let attempt: Attempt;
    try {
      attempt = await evaluation.attempt(group, suggestion, number, signal);
    } catch (error) {
      pool.report(group.id, 'neutral');
      throw error;
    }
    const { outcome, stopError } = attempt;
    const costs = {
      start_s: toSeconds(attempt.start),
      benchmark_s: toSeconds(attempt.benchmark),
      starts: attempt.starts,
    };
    if ('measured' in outcome) {
      this.#scoredOn.set(group.id, this.#scored(group.id) + 1);
      pool.report(group.id, stopError ?? 'works');
      return { ...measuredOf(outcome.measured, params), ...costs, group_id: group.id };
    }
    const { error } = outcome;
    pool.report(group.id, error.blame === 'node' ? error : (stopError ?? 'neutral'));
    if (error.blame === 'operator' || error.blame === 'program') throw error;
    if (error.blame === 'params' || error.blame === 'load') {
      const verdict: Verdict = { kind: 'infeasible', error: errorRecord(error) };
      return { ...notMeasured, ...costs, verdict, group_id: group.id };
    }
    await this.#noteFailure(trial, group.id, error, ms(attempt.start + attempt.benchmark));
    return this.#giveUp(trial, number, error, group.id);
  }

  async #noteFailure(trial: Trial, groupId: GroupId, error: ModelEvalStateError, busy: Ms): Promise<void> {
    const { store, clock } = this.#options;
    const record = errorRecord(error);
    trial.failed.push({ group_id: groupId, error: record });
    trial.avoid.add(groupId);
    if (error.blame === 'node') trial.nodeFailures.push({ groupId, scoredBefore: this.#scored(groupId) });
    await store.append({
      type: 'attempt-failed',
      at: clock.wallTime().toISOString(),
      trial_id: trial.suggestion.trialId,
      group_id: groupId,
      busy_s: toSeconds(busy),
      error: record,
    });
  }

  #giveUp(trial: Trial, attempt: number, error: ModelEvalStateError, groupId: GroupId): Settled | undefined {
    const record = errorRecord(error);
    if (isConvicted(trial.nodeFailures, (group) => this.#scored(group))) {
      const why = {
        ...record,
        message: `failed on two groups that serve other configurations: ${record.message}`,
      };
      return { ...notMeasured, verdict: { kind: 'infeasible', error: why }, group_id: groupId };
    }
    if (shouldRetry(attempt, this.#options.retry)) return undefined;
    const message = `All ${attempt + 1} attempts failed: ${record.message}`;
    return { ...notMeasured, verdict: { kind: 'failed', error: { ...record, message } }, group_id: groupId };
  }

  #scored(group: GroupId): number {
    return this.#scoredOn.get(group) ?? 0;
  }

  #record(trial: Trial, settled: Settled): TrialRecord {
    const record = recordOf(trial, settled, this.#options.clock);
    this.#tally.told(record);
    return record;
  }
}
