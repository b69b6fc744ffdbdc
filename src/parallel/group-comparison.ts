import { deadline } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import type { ModelEvalStateError } from '../base/errors.ts';
import type { EventSink } from '../base/events.ts';
import { ms, toSeconds, type GroupId, type Ms } from '../base/units.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import type { PerformanceIndex } from '../core/fitness/fitness.ts';
import type { ServingParams } from '../core/space/field.ts';
import type { Evaluation } from './evaluation.ts';
import type { GroupSpeeds } from './group-speeds.ts';
import type { RunStore } from './ports.ts';
import type { ServiceGroup } from './service-group.ts';
import type { ServiceGroupPool } from './service-group-pool.ts';

export interface ComparisonOptions {
  readonly speeds: GroupSpeeds;
  readonly pool: ServiceGroupPool;
  readonly evaluation: Evaluation;
  readonly store: RunStore;
  readonly events: EventSink;
  readonly clock: Clock;
  /** The present configuration. */
  readonly present: ServingParams;
}

/** Equal groups are not equally fast to the second. */
const leastWait = ms(10_000);

/** Measures the present configuration on every group before its first trial, and acts on those that differ. */
export class GroupComparison {
  readonly #options: ComparisonOptions;
  readonly #judged = new Set<GroupId>();

  constructor(options: ComparisonOptions) {
    this.#options = options;
  }

  /**
   * @returns whether a trial is for this group, or what is wrong with its machines
   * @throws when aborted, and what stops a run
   */
  async before(
    group: ServiceGroup,
    suggestion: Suggestion,
    signal: AbortSignal,
  ): Promise<'here' | 'elsewhere' | ModelEvalStateError> {
    const { speeds, store, clock } = this.#options;
    if (speeds.policy === 'trust') return 'here';
    const began = clock.now();
    if (!speeds.isKnown(group)) {
      const failure = await this.#measure(group, suggestion, signal);
      if (failure !== undefined) return failure;
    }
    if (speeds.reference === undefined) await this.#others(ms(clock.now() - began), signal);
    const reference = speeds.choose();
    if (reference !== undefined) {
      await store.append({ type: 'groups-compared', at: clock.wallTime().toISOString(), reference });
    }
    return this.#judge(group);
  }

  /** Waits for those that are being measured as well, but not for one that hangs: it is compared when it comes. */
  async #others(took: Ms, signal: AbortSignal): Promise<void> {
    const { speeds, clock } = this.#options;
    const began = clock.now();
    while (speeds.underway > 0) {
      const waited = clock.now() - began;
      if (waited >= 3 * Math.max(leastWait, took)) return;
      if (speeds.isMostlyKnown && waited >= Math.max(leastWait, took / 2)) return;
      using look = deadline(clock, ms(1000), () => new Error('look again'), signal);
      await speeds.change(look.signal).catch(() => signal.throwIfAborted());
    }
  }

  /** @returns what is wrong with its machines */
  async #measure(
    group: ServiceGroup,
    suggestion: Suggestion,
    signal: AbortSignal,
  ): Promise<ModelEvalStateError | undefined> {
    const { speeds, evaluation, store, clock, present } = this.#options;
    // Neither its load is searched nor is it ended early.
    const { trialId } = suggestion;
    const whole: Suggestion = {
      ...{ trialId, particle: 0, generation: 0, position: [], params: present, origin: 'fine-tune' },
    };
    let performance: PerformanceIndex | null | undefined;
    speeds.begin(group);
    try {
      const attempt = await evaluation.attempt(group, whole, 90, signal, true);
      const { outcome, stopError, starts } = attempt;
      if ('error' in outcome) {
        const { error } = outcome;
        if (error.blame === 'operator' || error.blame === 'program') throw error;
        if (error.blame === 'node') return error;
        performance = null;
      } else ({ performance } = outcome.measured.verdict);
      if (stopError !== undefined) return stopError;
      const { id: group_id, hosts } = group;
      const at = clock.wallTime().toISOString();
      const busy_s = toSeconds(ms(attempt.start + attempt.benchmark));
      await store.append({ type: 'group-measured', at, group_id, hosts, performance, starts, busy_s });
      return undefined;
    } finally {
      speeds.ended(group, performance);
    }
  }

  #judge({ id, devices }: ServiceGroup): 'here' | 'elsewhere' {
    const { speeds, pool, events } = this.#options;
    if (this.#judged.has(id) || !speeds.deviates(id)) return 'here';
    this.#judged.add(id);
    const ratio = speeds.ratio(id);
    const other = pool.groups.find((group) => group.id === speeds.reference);
    const apiece =
      other === undefined || other.devices === devices
        ? ''
        : `, ${((ratio * other.devices) / devices).toFixed(2)} × an accelerator (${devices} to ${other.devices})`;
    const what = !speeds.isComparable(id)
      ? `group ${id} does not serve the present configuration, and cannot be compared`
      : `group ${id} serves the present configuration at ${ratio.toFixed(2)} × the speed of group ${speeds.reference}${apiece}`;
    const so = {
      trust: '',
      normalize: speeds.isScaled(id) ? 'its measurements are scaled by that' : 'its measurements say so',
      strict: 'it is used only while no other group can be',
      exclude: 'it is not used',
    }[speeds.policy];
    events.emit({ type: 'note', text: `${what}; ${so}` });
    if (speeds.policy === 'strict') pool.reserve(id);
    if (speeds.policy === 'exclude') pool.leave(id);
    return speeds.policy === 'normalize' ? 'here' : 'elsewhere';
  }
}
