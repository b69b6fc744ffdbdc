import type { TrialId } from '../base/units.ts';
import type { ScoredRecord } from './records.ts';
import type { RunningService } from './running-service.ts';

/** What a service says of itself. */
export type Told = Pick<ScoredRecord['verdict'], 'effects' | 'engine_version'>;

/** A healthy service that waits for the next trial. */
export interface KeptService {
  readonly service: RunningService;
  /** Equal for configurations that it can be measured with. */
  readonly key: string;
  /** The trial that started it. */
  readonly trialId: TrialId;
  readonly told: Told;
}

/** Of what is gone already, so that nothing watches it any more. */
export async function released(kept: KeptService | undefined): Promise<void> {
  try {
    await kept?.service[Symbol.asyncDispose]();
  } catch {
    // Its machines were taken over: what it had there has ended.
  }
}
