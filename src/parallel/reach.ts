import { overtaken } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import { ms, type GroupId } from '../base/units.ts';
import type { GroupDependencies } from './group-dependencies.ts';
import { placeIn } from './place.ts';
import type { BenchmarkTarget, Executor, Forwarding, HttpProbe } from './ports.ts';

/** `auto`: where the controller gets no answer itself; never: it is told, and nothing is measured. */
export type ForwardPolicy = 'auto' | 'always' | 'never';

/** How long the straight way may take before the other one is looked at, and between two looks at that. */
const patience = ms(1000);

const isLoopback = (host: string): boolean => /^(127\.|::1$|localhost$)/.test(host);

/**
 * How the controller gets to the services of a group: straight, or through the connection to its master. Which one is
 * found out by the first answer, and kept.
 */
export class Reach implements HttpProbe {
  readonly #straight: HttpProbe;
  readonly #master: () => Executor | undefined;
  readonly #options: {
    readonly policy: ForwardPolicy;
    readonly clock: Clock;
    /** Called once, when the other way is taken. */
    readonly onForward: (place: string) => void;
  };
  #way: 'unknown' | 'straight' | 'forwarded' = 'unknown';
  #nextLook = 0;

  constructor(
    straight: HttpProbe,
    master: () => Executor | undefined,
    options: { policy: ForwardPolicy; clock: Clock; onForward: (place: string) => void },
  ) {
    this.#straight = straight;
    this.#master = master;
    this.#options = options;
  }

  get isForwarded(): boolean {
    return this.#way === 'forwarded';
  }

  async status(url: string, signal: AbortSignal): Promise<number | undefined> {
    return this.#ask(url, signal, async (at) => this.#straight.status(at, signal));
  }

  async text(url: string, signal: AbortSignal): Promise<string | undefined> {
    return this.#ask(url, signal, async (at) => this.#straight.text(at, signal));
  }

  async listens(host: string, port: number, signal: AbortSignal): Promise<boolean> {
    const forwarding = this.#forwarding;
    if (this.#onlyWay === undefined && (await this.#straight.listens(host, port, signal))) return true;
    if (forwarding === undefined || this.#way === 'straight') return false;
    return (await this.#placeOf(host, port, forwarding, signal)) !== undefined;
  }

  /** Where a load tool on the controller finds it. */
  async target(target: BenchmarkTarget, signal: AbortSignal): Promise<BenchmarkTarget> {
    const forwarding = this.#forwarding;
    if (this.#way !== 'forwarded' || forwarding === undefined) return target;
    const baseUrl = await this.#through(target.baseUrl, forwarding, signal);
    return { ...target, baseUrl: (baseUrl ?? target.baseUrl).replace(/\/$/, '') };
  }

  get #forwarding(): Forwarding | undefined {
    return this.#options.policy === 'never' ? undefined : this.#master()?.forwarding;
  }

  /** Behind a jump host an address of the node may be another machine's here. */
  get #onlyWay(): Forwarding | undefined {
    const forwarding = this.#forwarding;
    const { policy } = this.#options;
    return policy === 'always' || forwarding?.isOnlyWay === true || this.isForwarded ? forwarding : undefined;
  }

  async #ask<T>(
    url: string,
    signal: AbortSignal,
    ask: (url: string) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const forwarding = this.#forwarding;
    if (this.#onlyWay !== undefined) return this.#askThrough(url, this.#onlyWay, signal, ask);
    const answer = ask(url);
    if (forwarding === undefined || this.#way === 'straight') return answer;
    const { clock } = this.#options;
    const waiting = new AbortController();
    const late = clock.sleep(patience, waiting.signal).catch(() => undefined);
    const first = await Promise.race([answer, late]).finally(() => waiting.abort(overtaken));
    signal.throwIfAborted();
    if (first !== undefined) {
      this.#way = 'straight';
      return first;
    }
    answer.catch(() => undefined); // it may be aborted when nobody waits for it any more
    if (clock.now() < this.#nextLook) return undefined;
    this.#nextLook = clock.now() + patience;
    // One that takes its time is not out of reach.
    const { host, port } = placeIn(url);
    if (await this.#straight.listens(host, port, signal)) return answer;
    return this.#askThrough(url, forwarding, signal, ask);
  }

  async #askThrough<T>(
    url: string,
    forwarding: Forwarding,
    signal: AbortSignal,
    ask: (url: string) => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const through = await this.#through(url, forwarding, signal);
    const answer = through === undefined ? undefined : await ask(through);
    if (answer !== undefined && this.#way !== 'forwarded') {
      this.#way = 'forwarded';
      this.#options.onForward(new URL(url).host);
    }
    return answer;
  }

  /** The same URL with a port of this machine in it; undefined where nothing listens. */
  async #through(url: string, forwarding: Forwarding, signal: AbortSignal): Promise<string | undefined> {
    const at = new URL(url);
    const { host: asked, port } = placeIn(url);
    const host = await this.#placeOf(asked, port, forwarding, signal);
    if (host === undefined) return undefined;
    at.hostname = '127.0.0.1';
    at.port = String(await forwarding.port(host, port));
    return at.href;
  }

  /** A service may listen at the node's address, or on its loopback alone. */
  async #placeOf(
    host: string,
    port: number,
    forwarding: Forwarding,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    for (const place of isLoopback(host) ? [host] : [host, '127.0.0.1']) {
      if (await forwarding.reaches(place, port, signal)) return place;
    }
    return undefined;
  }
}

/** The way to the services of a group. */
export function reachOf(
  id: GroupId,
  master: () => Executor | undefined,
  { http, clock, forward: policy, note }: GroupDependencies,
): Reach {
  return new Reach(http, master, {
    ...{ policy, clock },
    onForward: (place) =>
      note(
        `group ${id}: ${place} is out of reach from here; its port is forwarded over SSH, which load from this machine pays for in latency`,
      ),
  });
}
