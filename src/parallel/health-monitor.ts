import { childController, deadline } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import { asOptimizerError, IPCTimeoutError } from '../base/errors.ts';
import type { EventSink } from '../base/events.ts';
import { ms, toSeconds, type GroupId, type Ms } from '../base/units.ts';
import type { ServiceGroup } from './service-group.ts';
import type { ServiceGroupPool } from './service-group-pool.ts';

export interface HealthMonitorOptions {
  readonly clock: Clock;
  readonly events: EventSink;
  /** Between two rounds of checks. */
  readonly interval: Ms;
  /** A node that does not answer for so long is gone. */
  readonly timeout: Ms;
}

/** What is known of one group; the names are the original's. */
export interface GroupHealth {
  readonly healthy: boolean;
  readonly consecutive_failures: number;
  readonly consecutive_successes: number;
  /** Of the slowest node, in the newest check that was answered. */
  readonly response_time_ms: number | null;
  readonly last_error: string | null;
}

export interface HealthSummary {
  readonly healthy_groups: number;
  readonly total_groups: number;
  readonly health_percentage: number;
  readonly avg_response_time_ms: number;
  readonly groups: Readonly<Record<string, GroupHealth>>;
}

const unknown: GroupHealth = {
  healthy: true,
  consecutive_failures: 0,
  consecutive_successes: 0,
  response_time_ms: null,
  last_error: null,
};

/**
 * Looks after groups while nobody uses them: one that does not answer is quarantined before it gets a particle. The
 * pool repairs it (reconnect, end leftovers, look around) and takes it back.
 */
export class HealthMonitor implements AsyncDisposable {
  readonly #pool: ServiceGroupPool;
  readonly #options: HealthMonitorOptions;
  readonly #groups = new Map<GroupId, GroupHealth>();
  readonly #stop = childController();
  #rounds: Promise<void> | undefined;

  constructor(pool: ServiceGroupPool, options: HealthMonitorOptions) {
    this.#pool = pool;
    this.#options = options;
  }

  start(): void {
    this.#rounds ??= this.#run();
  }

  /** Checks every group that no trial is on, side by side. */
  async checkAll(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#pool.idle().map(async (group) => this.#check(group, signal)));
  }

  getSummary(): HealthSummary {
    const known = this.#pool.groups.map((group) => ({
      id: String(group.id),
      health: { ...(this.#groups.get(group.id) ?? unknown), healthy: this.#pool.isUsable(group.id) },
    }));
    const healthy = known.filter(({ health }) => health.healthy).length;
    const times = known.flatMap(({ health }) => health.response_time_ms ?? []);
    return {
      healthy_groups: healthy,
      total_groups: known.length,
      health_percentage: known.length === 0 ? 0 : (100 * healthy) / known.length,
      avg_response_time_ms: times.length === 0 ? 0 : times.reduce((a, b) => a + b, 0) / times.length,
      groups: Object.fromEntries(known.map(({ id, health }) => [id, health])),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('monitoring has ended'));
    await this.#rounds;
  }

  async #run(): Promise<void> {
    const { clock, interval } = this.#options;
    const { signal } = this.#stop;
    try {
      for (;;) {
        await clock.sleep(interval, signal);
        await this.checkAll(signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #check(group: ServiceGroup, signal: AbortSignal): Promise<void> {
    const { clock, events, timeout } = this.#options;
    const began = clock.now();
    const late = (): Error =>
      new IPCTimeoutError(`health check of group ${group.id}`, toSeconds(timeout), { blame: 'node' });
    using bounded = deadline(clock, timeout, late, signal);
    const before = this.#groups.get(group.id) ?? unknown;
    try {
      await group.check(bounded.signal, timeout);
      const response_time_ms = clock.now() - began;
      this.#groups.set(group.id, {
        healthy: true,
        consecutive_failures: 0,
        consecutive_successes: before.consecutive_successes + 1,
        response_time_ms,
        last_error: null,
      });
      events.emit({ type: 'group.checked', groupId: group.id, responseMs: ms(response_time_ms) });
    } catch (caught) {
      signal.throwIfAborted();
      const error = asOptimizerError(caught);
      this.#groups.set(group.id, {
        ...before,
        healthy: false,
        consecutive_failures: before.consecutive_failures + 1,
        consecutive_successes: 0,
        last_error: error.message,
      });
      this.#pool.quarantine(group.id, error);
    }
  }
}
