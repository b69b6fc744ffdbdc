import { need } from '../../base/assert.ts';
import type { Deployment, ServingSettings } from './hardware.ts';
import { Replica, type EngineRequest, type ReplicaCounters } from './replica.ts';

/** The data-parallel replicas of one service; a request goes to the one with the least to do. */
export class ReplicaSet {
  readonly replicas: readonly Replica[];
  readonly #placed = new Map<number, Replica>();

  /** @throws RangeError for settings that cannot start */
  constructor(deployment: Deployment, settings: ServingSettings) {
    const count = settings.data_parallel_size;
    this.replicas = Array.from({ length: count }, () => new Replica(deployment, settings));
  }

  /** @returns the replica that has it now */
  add(request: EngineRequest): Replica {
    const load = (replica: Replica): number => replica.waiting * 4 + replica.running;
    const chosen = this.replicas.reduce((least, one) => (load(one) < load(least) ? one : least));
    chosen.add(request);
    this.#placed.set(request.id, chosen);
    return chosen;
  }

  remove(id: number): void {
    this.#placed.get(id)?.remove(id);
    this.#placed.delete(id);
  }

  forget(id: number): void {
    this.#placed.delete(id);
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

interface Flight {
  readonly sentMs: number;
  readonly dueMs: number;
  firstMs: number | undefined;
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
  const flights = new Map<number, Flight>();
  const done: SimulatedRequest[] = new Array<SimulatedRequest>(load.requests.length);
  let now = 0;
  let next = 0;

  const begin = (index: number): void => {
    const step = need(set.replicas[index], 'replica').step();
    steps[index] = step;
    ends[index] = step === undefined ? Infinity : now + step.durationMs;
  };
  const send = (): void => {
    while (next < load.requests.length && flights.size < load.maxConcurrency) {
      const due = load.dueMs[next] ?? 0;
      if (due > now) return;
      const id = next++;
      flights.set(id, { sentMs: now, dueMs: due > 0 ? due : now, firstMs: undefined });
      const index = set.replicas.indexOf(set.add({ id, ...need(load.requests[id], 'request') }));
      if (ends[index] === Infinity) begin(index);
    }
  };
  const end = (index: number): void => {
    const step = need(steps[index], 'step');
    for (const id of step.first) need(flights.get(id), 'flight').firstMs = now;
    for (const id of step.finished) {
      const { sentMs, dueMs, firstMs } = need(flights.get(id), 'flight');
      flights.delete(id);
      set.forget(id);
      const outputTokens = need(load.requests[id], 'request').outputTokens;
      const ttftMs = need(firstMs, 'first token') - dueMs;
      done[id] = { ttftMs, e2elMs: now - dueMs, sentMs, endMs: now, outputTokens };
    }
    begin(index);
  };

  send();
  for (;;) {
    const soonest = Math.min(...ends);
    const due = flights.size < load.maxConcurrency ? (load.dueMs[next] ?? Infinity) : Infinity;
    const at = Math.min(soonest, next < load.requests.length ? due : Infinity);
    if (at === Infinity) break;
    now = Math.max(now, at);
    if (soonest <= at) end(ends.indexOf(soonest));
    send();
  }
  return { requests: done, durationMs: now, preemptions: set.counters.preemptions };
}
