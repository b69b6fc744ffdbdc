import { tpotOf } from './goodput.ts';
import type { RequestOutcome } from './request.ts';

/** What a thread has seen of its load so far; times are ms. */
export interface Seen {
  /** Of complete requests. */
  readonly ttftsMs: readonly number[];
  /** Of those on their way: their TTFT, or how long they wait for it. They may fail yet, and count no more then. */
  readonly openTtftsMs: readonly number[];
  readonly tpotsMs: readonly number[];
  readonly tokens: number;
  readonly failed: number;
}

/** One request on its way. */
export interface Flight {
  first(now: number): void;
  end(outcome: RequestOutcome): void;
}

/** Follows the requests of a load while it goes on. */
export class Ledger {
  readonly #ttfts: number[] = [];
  readonly #open = new Map<Flight, number>();
  readonly #tpots: number[] = [];
  readonly #waiting = new Map<Flight, number>();
  #tokens = 0;
  #failed = 0;

  begin(due: number): Flight {
    const flight: Flight = {
      first: (now) => {
        if (this.#waiting.delete(flight)) this.#open.set(flight, now - due);
      },
      end: (outcome) => {
        this.#waiting.delete(flight);
        this.#open.delete(flight);
        if (!outcome.ok) this.#failed++;
        else {
          this.#ttfts.push(outcome.ttftMs);
          this.#tokens += outcome.outputTokens;
          this.#tpots.push(tpotOf(outcome) ?? 0);
        }
      },
    };
    this.#waiting.set(flight, due);
    return flight;
  }

  seen(now: number): Seen {
    const ages = [...this.#waiting.values()].map((due) => Math.max(0, now - due));
    const [tokens, failed] = [this.#tokens, this.#failed];
    const openTtftsMs = [...this.#open.values(), ...ages];
    return { ttftsMs: [...this.#ttfts], openTtftsMs, tpotsMs: [...this.#tpots], tokens, failed };
  }
}
