import type { TrialRecord } from './records.ts';

/** What a dispatcher has done, under the names of the original; times are seconds. */
export interface DispatcherSummary {
  readonly is_ready: boolean;
  readonly worker_count: number;
  readonly stats: {
    readonly total_dispatches: number;
    readonly total_particles: number;
    readonly successful_evaluations: number;
    readonly failed_evaluations: number;
    readonly success_rate: number;
  };
  readonly pool_stats: {
    readonly total_groups: number;
    readonly healthy_groups: number;
    readonly avg_evaluation_time: number;
  };
}

/** Counts what a dispatcher does. */
export class Tally {
  #dispatches = 0;
  #particles = 0;
  #successful = 0;
  #failed = 0;
  #busySeconds = 0;

  dispatched(particles: number): void {
    this.#dispatches++;
    this.#particles += particles;
  }

  /** How many particles were dispatched so far. */
  get particles(): number {
    return this.#particles;
  }

  told({ verdict, start_s, benchmark_s }: TrialRecord): void {
    if (verdict.kind !== 'scored') {
      this.#failed++;
      return;
    }
    this.#successful++;
    this.#busySeconds += start_s + benchmark_s;
  }

  summary({ size, usable }: { readonly size: number; readonly usable: number }): DispatcherSummary {
    const evaluations = this.#successful + this.#failed;
    return {
      is_ready: usable > 0,
      worker_count: size,
      stats: {
        total_dispatches: this.#dispatches,
        total_particles: this.#particles,
        successful_evaluations: this.#successful,
        failed_evaluations: this.#failed,
        success_rate: evaluations === 0 ? 0 : this.#successful / evaluations,
      },
      pool_stats: {
        total_groups: size,
        healthy_groups: usable,
        avg_evaluation_time: this.#successful === 0 ? 0 : this.#busySeconds / this.#successful,
      },
    };
  }
}
