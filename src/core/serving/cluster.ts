import { need } from '../../base/assert.ts';
import type { Deployment, ServingSettings } from './hardware.ts';
import { Replica, type EngineRequest, type ReplicaCounters } from './replica.ts';

const loadOf = ({ waiting, running }: Replica): number => waiting * 4 + running;

/** The data-parallel replicas of one service; a request goes to the one with the least to do. */
export class ReplicaSet {
  readonly replicas: readonly Replica[];

  /** @throws RangeError for settings that cannot start */
  constructor(deployment: Deployment, settings: ServingSettings) {
    const count = settings.data_parallel_size;
    this.replicas = Array.from({ length: count }, () => new Replica(deployment, settings));
  }

  /** @returns the replica that has it now */
  add(request: EngineRequest): Replica {
    const chosen = this.replicas.reduce((least, one) => (loadOf(one) < loadOf(least) ? one : least));
    chosen.add(request);
    return chosen;
  }

  remove(id: number): void {
    for (const replica of this.replicas) replica.remove(id);
  }

  get counters(): ReplicaCounters {
    const total: ReplicaCounters = { preemptions: 0, promptTokens: 0, generationTokens: 0, steps: 0 };
    for (const { counters } of this.replicas) {
      total.preemptions += counters.preemptions;
      total.promptTokens += counters.promptTokens;
      total.generationTokens += counters.generationTokens;
      total.steps += counters.steps;
    }
    return total;
  }
}

/** A load as a benchmark makes it. */
export interface SimulatedLoad {
  /** In order of sending. */
  readonly requests: readonly Omit<EngineRequest, 'id'>[];
  readonly maxConcurrency: number;
  /** Offsets in ms at which the requests are due, ascending; all 0 for an infinite rate. */
  readonly dueMs: readonly number[];
}

export interface SimulatedRequest {
  /** From when it was due, or from when there was room for it at an infinite rate. */
  readonly ttftMs: number;
  readonly e2elMs: number;
  /** On the load's clock. */
  readonly sentMs: number;
  readonly endMs: number;
  readonly outputTokens: number;
}

export interface SimulatedOutcome {
  readonly requests: readonly SimulatedRequest[];
  readonly durationMs: number;
  readonly preemptions: number;
}

/** One benchmark in no time: the events are the ends of steps and the sendings. */
export function simulateLoad(
  deployment: Deployment,
  settings: ServingSettings,
  load: SimulatedLoad,
): SimulatedOutcome {
  const set = new ReplicaSet(deployment, settings);
  const ends = set.replicas.map(() => Infinity);
  const steps = set.replicas.map((): ReturnType<Replica['step']> => undefined);
  const count = load.requests.length;
  const [sentMs, dueMs, firstMs] = [
    new Float64Array(count),
    new Float64Array(count),
    new Float64Array(count),
  ];
  let flying = 0;
  const done: SimulatedRequest[] = new Array<SimulatedRequest>(count);
  let now = 0;
  let next = 0;

  const begin = (index: number): void => {
    const step = need(set.replicas[index], 'replica').step();
    steps[index] = step;
    ends[index] = step === undefined ? Infinity : now + step.durationMs;
  };
  const send = (): void => {
    while (next < count && flying < load.maxConcurrency) {
      const due = load.dueMs[next] ?? 0;
      if (due > now) return;
      const id = next++;
      flying++;
      sentMs[id] = now;
      dueMs[id] = due > 0 ? due : now;
      const index = set.replicas.indexOf(set.add({ id, ...need(load.requests[id], 'request') }));
      if (ends[index] === Infinity) begin(index);
    }
  };
  const end = (index: number): void => {
    const step = need(steps[index], 'step');
    for (const id of step.first) firstMs[id] = now;
    for (const id of step.finished) {
      flying--;
      const { outputTokens } = need(load.requests[id], 'request');
      const [sent = 0, due = 0, first = 0] = [sentMs[id], dueMs[id], firstMs[id]];
      done[id] = { ttftMs: first - due, e2elMs: now - due, sentMs: sent, endMs: now, outputTokens };
    }
    begin(index);
  };

  send();
  for (;;) {
    const soonest = Math.min(...ends);
    const due = flying < load.maxConcurrency ? (load.dueMs[next] ?? Infinity) : Infinity;
    const at = Math.min(soonest, next < count ? due : Infinity);
    if (at === Infinity) break;
    now = Math.max(now, at);
    if (soonest <= at) end(ends.indexOf(soonest));
    send();
  }
  return { requests: done, durationMs: now, preemptions: set.counters.preemptions };
}
