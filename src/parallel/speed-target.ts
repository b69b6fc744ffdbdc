import { abortable } from '../base/cancellation.ts';
import { deferred } from '../base/condition.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import type { TrialRecord } from './records.ts';

/**
 * The original's rule for MindIE: the throughput to aim at is ten times that of the present configuration. Trials that
 * are measured before that is known wait for it, so that all costs have one scale.
 */
export class SpeedTarget {
  readonly #settings: FitnessSettings;
  readonly #known = deferred<number>();

  #gaveUp = false;

  /** @param failedBefore an attempt at the present configuration has failed in an earlier session */
  constructor(settings: FitnessSettings, told: readonly TrialRecord[], failedBefore: boolean) {
    this.#settings = settings;
    if (failedBefore) this.giveUp();
    for (const record of told) this.told(record);
  }

  /** What a measurement of the present configuration is judged by: itself. */
  of(speed: number | null): FitnessSettings {
    return this.#with(this.#gaveUp ? null : speed);
  }

  async settings(signal: AbortSignal): Promise<FitnessSettings> {
    return this.#with(await abortable(this.#known.promise, signal));
  }

  /** The present configuration has a verdict, or its first attempt failed: nobody waits any longer. */
  told({ trial_id, as_is, verdict: found }: Pick<TrialRecord, 'trial_id' | 'as_is' | 'verdict'>): void {
    if (trial_id !== 0) return;
    const verdict = as_is?.verdict ?? found;
    this.#known.resolve(verdict.kind === 'scored' ? (verdict.performance.generate_speed ?? 0) : 0);
  }

  /** From now on all costs have the scale of the configuration, the baseline's as well. */
  giveUp(): void {
    this.#gaveUp = true;
    this.#known.resolve(0);
  }

  #with(speed: number | null): FitnessSettings {
    return speed === null || speed <= 0
      ? this.#settings
      : { ...this.#settings, generate_speed_target: 10 * speed };
  }
}
