import { trialId } from '../base/units.ts';
import type { Optimizer, Suggestion } from '../core/pso/optimizer.ts';
import type { ServingParams } from '../core/space/field.ts';
import type { TrialRecord } from '../parallel/records.ts';
import type { Budget } from './budget.ts';
import { confirmations, type ConfirmationOptions } from './confirmation.ts';
import { Refinement, type RefinementOptions } from './refinement.ts';

/** Why a study ended: all was measured, its time was used up, or nothing better was found for long. */
export type Ending = 'completed' | 'budget' | 'patience';

export interface AgendaOptions {
  readonly optimizer: Optimizer;
  readonly budget: Budget;
  readonly confirmation: ConfirmationOptions;
  /** undefined: the load is a part of the search. */
  readonly refinement: RefinementOptions | undefined;
  /** Whether a service for this configuration waits on a group. */
  readonly isWarm: (params: ServingParams) => boolean;
}

/** What a study measures next: the search, then what refines its best, then what confirms the answer. */
export class Agenda {
  readonly #options: AgendaOptions;
  /** Grows while the study goes on. */
  readonly #told: readonly TrialRecord[];
  #asked: number;
  #refinement: Refinement | undefined;
  #isRefined = false;
  #confirming: Omit<Suggestion, 'trialId'>[] = [];
  #ending: Ending = 'completed';

  /** @param pending asked in an earlier session of the run, and to be told yet */
  constructor(options: AgendaOptions, told: readonly TrialRecord[], pending: readonly Suggestion[]) {
    this.#options = options;
    this.#told = told;
    this.#asked = told.length + pending.length;
    const isOver = [...told, ...pending].some(
      ({ confirms = null, refines }) => confirms !== null || refines !== undefined,
    );
    // What came after the search was asked by it: an interruption does not begin it anew.
    if (isOver && !options.optimizer.done) this.#ending = options.budget.isPatient ? 'patience' : 'budget';
  }

  get ending(): Ending {
    return this.#ending;
  }

  /** Whether the search goes on; it never begins again once it is over. */
  get searches(): boolean {
    const { optimizer, budget } = this.#options;
    if (this.#ending !== 'completed') return false;
    if (budget.isExhausted(this.#told)) this.#ending = 'patience';
    else if (!optimizer.done && !budget.allowsSearch(this.#told)) this.#ending = 'budget';
    return this.#ending === 'completed' && !optimizer.done;
  }

  /** undefined: nothing now, or nothing more of this part. */
  next(): Suggestion | undefined {
    const extra = this.#extra();
    const asked = extra === undefined ? undefined : { ...extra, trialId: trialId(this.#asked) };
    const suggestion = asked ?? (this.searches ? this.#options.optimizer.ask() : undefined);
    if (suggestion !== undefined) this.#asked++;
    return suggestion;
  }

  tell(record: TrialRecord): void {
    this.#refinement?.tell(record);
  }

  /** To the next part, once all of this one is told. @returns whether there is one */
  advance(): boolean {
    const { refinement, confirmation, budget } = this.#options;
    if (!this.#isRefined && refinement !== undefined) {
      this.#isRefined = true;
      this.#refinement = new Refinement(this.#told, refinement);
      return true;
    }
    this.#refinement = undefined;
    this.#confirming = confirmations(this.#told, confirmation);
    if (this.#confirming.length === 0) return false;
    if (budget.allowsConfirmation(this.#told)) return true;
    this.#ending = 'budget';
    return false;
  }

  /** As far as there is time. */
  #extra(): Omit<Suggestion, 'trialId'> | undefined {
    const { budget, isWarm } = this.#options;
    const upcoming = this.#confirming[0] ?? this.#refinement?.next(isWarm);
    if (upcoming === undefined || budget.allowsConfirmation(this.#told)) {
      this.#confirming.shift();
      return upcoming;
    }
    this.#ending = 'budget';
    this.#confirming = [];
    this.#refinement = undefined;
    return undefined;
  }
}
