import type { GroupId, TrialId } from './units.ts';

export type TrialPhase = 'start' | 'benchmark' | 'stop';

/** All that a run has to say while it goes on. Nothing below cli/ and ui/ prints. Durations are seconds. */
export type RunEvent =
  | {
      readonly type: 'run.started';
      readonly runId: string;
      readonly evaluations: number;
      readonly groups: number;
      readonly resumed: boolean;
      readonly directory: string;
      /** Wall clock that is left of its budget; null: no limit. */
      readonly budgetSeconds: number | null;
    }
  /** Nothing new is begun until it goes on. */
  | { readonly type: 'run.paused'; readonly paused: boolean }
  | { readonly type: 'note'; readonly text: string }
  | {
      readonly type: 'group.ready';
      readonly groupId: GroupId;
      readonly hosts: readonly string[];
      readonly seconds: number;
    }
  | {
      readonly type: 'group.down';
      readonly groupId: GroupId;
      readonly reason: string;
      readonly circuit: 'closed' | 'open' | 'half_open';
    }
  | { readonly type: 'group.recovered'; readonly groupId: GroupId }
  | { readonly type: 'group.checked'; readonly groupId: GroupId; readonly responseMs: number }
  | {
      readonly type: 'trial.started';
      readonly trialId: TrialId;
      readonly groupId: GroupId;
      readonly params: Readonly<Record<string, unknown>>;
    }
  | {
      readonly type: 'trial.phase';
      readonly trialId: TrialId;
      readonly groupId: GroupId;
      readonly phase: TrialPhase;
    }
  | {
      readonly type: 'trial.progress';
      readonly trialId: TrialId;
      readonly groupId: GroupId;
      /** Requests of the benchmark that runs. */
      readonly done: number;
      readonly total: number;
    }
  | {
      readonly type: 'trial.retry';
      readonly trialId: TrialId;
      readonly groupId: GroupId;
      readonly reason: string;
      readonly delaySeconds: number;
    }
  | {
      readonly type: 'trial.finished';
      readonly trialId: TrialId;
      readonly groupId: GroupId | null;
      readonly kind: 'scored' | 'infeasible' | 'failed';
      readonly reusedFrom: TrialId | null;
      readonly confirms: TrialId | null;
      readonly feasible: boolean;
      readonly isBest: boolean;
      /** The load that was found for it, and how many were tried; null where its load was given. */
      readonly load: Readonly<Record<string, unknown>> | null;
      readonly loads: number;
      readonly told: number;
      readonly evaluations: number;
      readonly generateSpeed: number | null;
      readonly ttftSeconds: number | null;
      readonly tpotSeconds: number | null;
      readonly successRate: number | null;
      readonly fitness: number | null;
      /** Ended before its end, when it could not win any more: it has no metrics. */
      readonly endedEarly: boolean;
      /** The SLO that is nearest to its limit, and the share of the limit that is left; null where there is none. */
      readonly spare: { readonly slo: string; readonly share: number } | null;
      readonly error: string | null;
    }
  | { readonly type: 'run.stopping'; readonly reason: string }
  | { readonly type: 'run.ended'; readonly runId: string; readonly status: string };

export interface EventSink {
  emit(event: RunEvent): void;
}

/** Hands every event to all listeners. */
export class EventBus implements EventSink {
  readonly #listeners: ((event: RunEvent) => void)[] = [];

  subscribe(listener: (event: RunEvent) => void): void {
    this.#listeners.push(listener);
  }

  emit(event: RunEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
