import { ReplicaSet } from '../core/serving/cluster.ts';
import type { Deployment, ServingSettings } from '../core/serving/hardware.ts';
import type { Replica, Step } from '../core/serving/replica.ts';

/** What happens to one request of the emulated engine. */
export interface RequestListener {
  /** A token came out. */
  token(index: number): void;
  end(): void;
}

interface Live {
  readonly replica: Replica;
  readonly listener: RequestListener;
  generated: number;
}

/** The model of the engine at the speed of this machine's clock. */
export class EmulatedEngine {
  readonly set: ReplicaSet;
  readonly #live = new Map<number, Live>();
  /** When the step of a replica ends; absent while it is idle. */
  readonly #steps = new Map<Replica, { readonly step: Step; readonly timer: NodeJS.Timeout }>();
  #nextId = 0;

  /** @throws RangeError for settings that cannot start */
  constructor(deployment: Deployment, settings: ServingSettings) {
    this.set = new ReplicaSet(deployment, settings);
  }

  /** @returns how to give the request up */
  submit(promptTokens: number, outputTokens: number, listener: RequestListener): () => void {
    const id = this.#nextId++;
    const replica = this.set.add({ id, promptTokens, outputTokens });
    this.#live.set(id, { replica, listener, generated: 0 });
    if (!this.#steps.has(replica)) this.#begin(replica, performance.now());
    return () => {
      this.#live.delete(id);
      this.set.remove(id);
    };
  }

  stop(): void {
    for (const { timer } of this.#steps.values()) clearTimeout(timer);
    this.#steps.clear();
  }

  /** Steps follow each other on an absolute time line, so that late timers do not slow the engine down. */
  #begin(replica: Replica, at: number): void {
    const step = replica.step();
    if (step === undefined) {
      this.#steps.delete(replica);
      return;
    }
    const end = at + step.durationMs;
    const timer = setTimeout(() => this.#end(replica, step, end), end - performance.now());
    this.#steps.set(replica, { step, timer });
  }

  #end(replica: Replica, step: Step, at: number): void {
    for (const id of step.tokens) {
      const live = this.#live.get(id);
      live?.listener.token(live.generated++);
    }
    for (const id of step.finished) {
      const live = this.#live.get(id);
      this.#live.delete(id);
      live?.listener.end();
    }
    this.#begin(replica, Math.max(at, performance.now() - 100));
  }
}
