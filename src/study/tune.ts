import { childController } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import type { EventSink } from '../base/events.ts';
import { trialId } from '../base/units.ts';
import type { Optimizer, Suggestion } from '../core/pso/optimizer.ts';
import type { ParticleDispatcher } from '../parallel/particle-dispatcher.ts';
import type { RunStore } from '../parallel/ports.ts';
import { bestOf } from '../parallel/candidates.ts';
import type { TrialRecord } from '../parallel/records.ts';
import type { ServiceGroupPool } from '../parallel/service-group-pool.ts';
import { confirmations, isConfirmation, type ConfirmationOptions } from './confirmation.ts';
import { isOfSearch, judgementOf, type Progress } from './replay.ts';
import { Refinement, type RefinementOptions } from './refinement.ts';

export interface Study {
  readonly optimizer: Optimizer;
  readonly dispatcher: Pick<ParticleDispatcher, 'hasRoom' | 'evaluate'>;
  readonly pool: Pick<ServiceGroupPool, 'changed'>;
  readonly store: RunStore;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly evaluations: number;
  readonly confirmation: ConfirmationOptions;
  /** undefined: the load is a part of the search. */
  readonly refinement: RefinementOptions | undefined;
  /** Told of every record once it is durable. */
  readonly onTold?: ((record: TrialRecord) => void) | undefined;
  /** From an earlier session of the run. */
  readonly progress: Progress;
}

/**
 * Asks, dispatches and tells until the budget is used. A free group gets the next particle at once.
 * Everything started has ended when it resolves or rejects.
 */
export async function tune(study: Study, signal: AbortSignal): Promise<void> {
  using session = childController(signal);
  const told = [...study.progress.told];
  const waiting = [...study.progress.pending];
  const flights = new Set<Promise<void>>();
  const confirmed =
    told.filter(({ confirms }) => confirms !== null).length + waiting.filter(isConfirmation).length;
  let asked = told.length + waiting.length;
  let refinement: Refinement | undefined;
  let confirming: ReturnType<typeof confirmations> | undefined;
  let failure: { readonly error: unknown } | undefined;

  const fly = (suggestion: Suggestion): void => {
    const flight = evaluate(study, suggestion, told, session.signal)
      .then((record) => refinement?.tell(record))
      .catch((error: unknown) => {
        failure ??= { error };
        session.abort(error);
      })
      .finally(() => flights.delete(flight));
    flights.add(flight);
  };

  /** The next of the search, then of what is decided when all of it is told. */
  const ask = async (): Promise<Suggestion | undefined> => {
    const extra = confirming?.shift() ?? refinement?.next();
    const suggestion = extra === undefined ? study.optimizer.ask() : { ...extra, trialId: trialId(asked) };
    if (suggestion === undefined) return undefined;
    asked++;
    await journalAsked(study, suggestion);
    return suggestion;
  };

  try {
    while (!session.signal.aborted) {
      const suggestion = study.dispatcher.hasRoom ? (waiting.shift() ?? (await ask())) : undefined;
      if (suggestion !== undefined) fly(suggestion);
      else if (flights.size > 0 || !study.optimizer.done)
        await Promise.race([...flights, study.pool.changed.wait(session.signal)]);
      else if (refinement === undefined && study.refinement !== undefined)
        refinement = new Refinement(told, study.refinement);
      else if (confirming === undefined)
        confirming = confirmations(told, study.confirmation).slice(confirmed);
      else break;
    }
  } catch (error) {
    failure ??= { error };
    session.abort(error);
  }
  await Promise.all(flights);
  signal.throwIfAborted();
  if (failure !== undefined) throw failure.error;
}

/**
 * Durable before anything is started for it. Entries are queued in the order in which the optimizer was asked and told:
 * a replay of the journal must see the same.
 */
async function journalAsked({ store, clock }: Study, suggestion: Suggestion): Promise<void> {
  await store.append({ type: 'asked', at: clock.wallTime().toISOString(), suggestion });
}

async function evaluate(
  study: Study,
  suggestion: Suggestion,
  told: TrialRecord[],
  signal: AbortSignal,
): Promise<TrialRecord> {
  return study.dispatcher.evaluate(suggestion, async (record) => tell(study, record, told), signal);
}

async function tell(study: Study, record: TrialRecord, told: TrialRecord[]): Promise<void> {
  const { store, clock, optimizer, events, evaluations, confirmation } = study;
  const durable = store.append({ type: 'told', at: clock.wallTime().toISOString(), record });
  if (isOfSearch(record)) optimizer.tell(record.trial_id, judgementOf(record.verdict)); // at once, as in `ask`: no answer in between
  await durable;
  study.onTold?.(record);
  told.push(record);
  const { verdict } = record;
  const scored = verdict.kind === 'scored';
  events.emit({
    type: 'trial.finished',
    trialId: record.trial_id,
    groupId: record.group_id,
    kind: verdict.kind,
    reusedFrom: record.reused_from,
    feasible: scored && verdict.violations.length === 0,
    isBest: bestOf(told, confirmation.slos)?.record.trial_id === record.trial_id,
    confirms: record.confirms,
    told: told.length,
    evaluations,
    generateSpeed: scored ? verdict.performance.generate_speed : null,
    ttftSeconds: scored ? verdict.performance.time_to_first_token : null,
    tpotSeconds: scored ? verdict.performance.time_per_output_token : null,
    successRate: scored ? verdict.performance.success_rate : null,
    fitness: scored ? verdict.fitness : null,
    error: scored ? null : verdict.error.message,
  });
}
