import { childController } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import type { EventSink, RunEvent } from '../base/events.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import type { ParticleDispatcher } from '../parallel/particle-dispatcher.ts';
import type { RunStore } from '../parallel/ports.ts';
import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { spareOf } from '../core/fitness/slo.ts';
import { BestSoFar } from '../parallel/candidates.ts';
import type { Pause } from './pause.ts';
import { judgedOf, type TrialRecord } from '../parallel/records.ts';
import type { ServiceGroupPool } from '../parallel/service-group-pool.ts';
import { isOfSearch, judgementOf, type Progress } from './replay.ts';
import { Agenda, type AgendaOptions, type Ending } from './agenda.ts';

export interface Study extends Omit<AgendaOptions, 'isWarm'> {
  readonly dispatcher: Pick<ParticleDispatcher, 'hasRoom' | 'evaluate' | 'isWarm'>;
  readonly pool: Pick<ServiceGroupPool, 'changed'>;
  readonly store: RunStore;
  readonly events: EventSink;
  readonly clock: Clock;
  readonly evaluations: number;
  /** Told of every record once it is durable. */
  readonly onTold?: ((record: TrialRecord) => void) | undefined;
  readonly pause?: Pause | undefined;
  /** From an earlier session of the run. */
  readonly progress: Progress;
}

/**
 * Asks, dispatches and tells until the budget is used. A free group gets the next particle at once.
 * Everything started has ended when it resolves or rejects.
 */
export async function tune(study: Study, signal: AbortSignal): Promise<Ending> {
  using session = childController(signal);
  const told = [...study.progress.told];
  const waiting = [...study.progress.pending];
  const flights = new Set<Promise<unknown>>();
  const { dispatcher } = study;
  const isWarm: AgendaOptions['isWarm'] = (params) => dispatcher.isWarm(params);
  const agenda = new Agenda({ ...study, isWarm }, told, waiting);
  const best = new BestSoFar(told, study.confirmation.slos);
  let failure: { readonly error: unknown } | undefined;

  const fly = (suggestion: Suggestion): void => {
    const flight = study.dispatcher
      .evaluate(suggestion, async (record) => tell(study, record, { told, best, agenda }), session.signal)
      .catch((error: unknown) => {
        failure ??= { error };
        session.abort(error);
      })
      .finally(() => flights.delete(flight));
    flights.add(flight);
  };

  const ask = async (): Promise<Suggestion | undefined> => {
    const suggestion = agenda.next();
    if (suggestion !== undefined) await journalAsked(study, suggestion);
    return suggestion;
  };

  try {
    while (!session.signal.aborted) {
      if (study.pause?.isOn === true) {
        await Promise.race([...flights, study.pause.changed.wait(session.signal)]);
        continue;
      }
      // With all groups down one trial waits for a group, and for how long that may take.
      const hasRoom = dispatcher.hasRoom || flights.size === 0;
      const suggestion = hasRoom ? (waiting.shift() ?? (await ask())) : undefined;
      if (suggestion !== undefined) fly(suggestion);
      else if (flights.size > 0 || agenda.searches)
        await Promise.race([...flights, study.pool.changed.wait(session.signal)]);
      else if (!agenda.advance()) break;
    }
  } catch (error) {
    failure ??= { error };
    session.abort(error);
  }
  await Promise.all(flights);
  signal.throwIfAborted();
  if (failure !== undefined) throw failure.error;
  return agenda.ending;
}

/**
 * Durable before anything is started for it. Entries are queued in the order in which the optimizer was asked and told:
 * a replay of the journal must see the same.
 */
async function journalAsked({ store, clock }: Study, suggestion: Suggestion): Promise<void> {
  await store.append({ type: 'asked', at: clock.wallTime().toISOString(), suggestion });
}

/** What was told so far, and who goes by it. */
interface Known {
  readonly told: TrialRecord[];
  readonly best: BestSoFar;
  readonly agenda: Agenda;
}

function foundLoad({ curve, params }: TrialRecord): TrialRecord['params'] | null {
  const names = Object.keys(curve?.[0]?.load ?? {});
  return names.length === 0
    ? null
    : Object.fromEntries(Object.entries(params).filter(([name]) => names.includes(name)));
}

/** What asks next knows it at once; it resolves, and the world hears of it, when it is durable. */
async function tell(study: Study, record: TrialRecord, { told, best, agenda }: Known): Promise<void> {
  const { store, clock, optimizer, events, evaluations, confirmation } = study;
  const durable = store.append({ type: 'told', at: clock.wallTime().toISOString(), record });
  if (isOfSearch(record)) optimizer.tell(record.trial_id, judgementOf(record.verdict));
  agenda.tell(record);
  const count = told.push(record);
  const isBest = best.told(record)?.record.trial_id === record.trial_id;
  await durable;
  study.onTold?.(record);
  events.emit({
    type: 'trial.finished',
    trialId: record.trial_id,
    groupId: record.group_id,
    kind: record.verdict.kind,
    reusedFrom: record.reused_from,
    isBest,
    confirms: record.confirms,
    load: foundLoad(record),
    loads: record.curve?.length ?? 1,
    told: count,
    evaluations,
    ...measurementOf(record, confirmation.slos),
  });
}

type Finished = Extract<RunEvent, { type: 'trial.finished' }>;

/** What there is to say of its numbers; those of one that was ended early are bounds, and not said. */
function measurementOf(
  { verdict }: TrialRecord,
  slos: FitnessSettings,
): Pick<Finished, 'feasible' | 'fitness' | 'endedEarly' | 'spare' | 'error'> & Speeds {
  const nothing = { generateSpeed: null, ttftSeconds: null, tpotSeconds: null, successRate: null };
  const none = { ...nothing, feasible: false, endedEarly: false, spare: null };
  if (verdict.kind !== 'scored') return { ...none, fitness: null, error: verdict.error.message };
  const { performance, fitness, violations } = verdict;
  if (verdict.censored === true) return { ...none, endedEarly: true, fitness, error: null };
  return {
    feasible: violations.length === 0,
    ...{ fitness, endedEarly: false, error: null },
    spare: spareOf(judgedOf(verdict), slos) ?? null,
    generateSpeed: performance.generate_speed,
    ttftSeconds: performance.time_to_first_token,
    tpotSeconds: performance.time_per_output_token,
    successRate: performance.success_rate,
  };
}

type Speeds = Pick<Finished, 'generateSpeed' | 'ttftSeconds' | 'tpotSeconds' | 'successRate'>;
