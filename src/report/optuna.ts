import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { activeSlos, measuredOf } from '../core/fitness/slo.ts';
import { enumValues, type Field, type ParamValue } from '../core/space/field.ts';
import { judgedOf, type JournalEntry, type TrialRecord } from '../parallel/records.ts';

/** A run as a journal of Optuna's JournalFileStorage, for `optuna-dashboard`. */

const operation = { createStudy: 0, studyUserAttribute: 2, createTrial: 4 } as const;
const direction = { minimize: 1, maximize: 2 } as const;
const state = { complete: 1, pruned: 2, fail: 3 } as const;

type Distribution =
  | { readonly name: 'IntDistribution'; readonly attributes: Record<string, unknown> }
  | { readonly name: 'FloatDistribution'; readonly attributes: Record<string, unknown> }
  | {
      readonly name: 'CategoricalDistribution';
      readonly attributes: { readonly choices: readonly ParamValue[] };
    };

/** What was searched, and what was tried beside it. */
function distributionOf(tried: readonly ParamValue[], field: Field | undefined): Distribution {
  const values = [...(field === undefined ? [] : boundsOf(field)), ...tried];
  const numbers = values.filter((value) => typeof value === 'number');
  if (numbers.length < values.length || numbers.length === 0)
    return { name: 'CategoricalDistribution', attributes: { choices: [...new Set(values)] } };
  const bounds = { low: Math.min(...numbers), high: Math.max(...numbers), log: field?.scale === 'log' };
  return field?.dtype !== 'float' && numbers.every(Number.isInteger)
    ? { name: 'IntDistribution', attributes: { ...bounds, step: 1 } }
    : { name: 'FloatDistribution', attributes: { ...bounds, step: null } };
}

/** The values at the ends, or all of a list. */
function boundsOf(field: Field): readonly ParamValue[] {
  switch (field.dtype) {
    case 'enum':
      return enumValues(field);
    case 'bool':
      return [false, true];
    case 'int':
    case 'float':
      return [field.min, field.max];
    default:
      return [];
  }
}

/** As Optuna keeps it: a number, or the index of a choice. */
function internal(value: ParamValue, { name, attributes }: Distribution): number {
  return name === 'CategoricalDistribution' ? attributes.choices.indexOf(value) : Number(value);
}

/** Local time without a zone, as Python's `datetime.isoformat` writes it; UTC here. */
const moment = (at: string): string => at.replace(/Z$/, '');

function stateOf({ verdict }: TrialRecord): number {
  if (verdict.kind === 'failed') return state.fail;
  return verdict.kind === 'infeasible' || verdict.censored === true ? state.pruned : state.complete;
}

/** One a hard SLO, at most 0 where it is met; what could not be served misses them all. */
function constraintsOf({ verdict }: TrialRecord, slos: FitnessSettings): number[] {
  return activeSlos(slos)
    .filter(({ soft }) => !soft)
    .map((slo) => {
      const measured = verdict.kind === 'scored' ? measuredOf(slo, judgedOf(verdict)) : null;
      if (measured === null) return 1;
      const over = (slo.atLeast ? slo.limit - measured : measured - slo.limit) / slo.limit;
      return over - slo.slack;
    });
}

/** Two objectives: most output tokens/s, least cost. */
export function optunaJournal(
  run: Extract<JournalEntry, { type: 'run-started' }>,
  told: readonly TrialRecord[],
): string {
  const worker_id = `optimizer-${run.run_id}`;
  const own = told.filter(({ reused_from }) => reused_from === null);
  const distributions = new Map<string, Distribution>();
  for (const name of new Set(own.flatMap(({ params }) => Object.keys(params))))
    distributions.set(
      name,
      distributionOf(
        own.flatMap(({ params }) => params[name] ?? []),
        run.fields?.find((field) => field.name === name),
      ),
    );
  const lines: object[] = [
    {
      op_code: operation.createStudy,
      worker_id,
      study_name: `optimizer ${run.run_id}`,
      directions: [direction.maximize, direction.minimize],
    },
    {
      op_code: operation.studyUserAttribute,
      worker_id,
      study_id: 0,
      user_attr: { engine: run.engine, benchmark: run.benchmark },
    },
  ];
  for (const record of own) {
    const { verdict, params } = record;
    const isComplete = stateOf(record) === state.complete;
    const known = Object.entries(params).flatMap(([name, value]) => {
      const distribution = distributions.get(name);
      return distribution === undefined ? [] : [{ name, value, distribution }];
    });
    const performance = verdict.kind === 'scored' && isComplete ? verdict.performance : {};
    lines.push({
      op_code: operation.createTrial,
      worker_id,
      study_id: 0,
      datetime_start: moment(record.started_at),
      datetime_complete: moment(record.finished_at),
      state: stateOf(record),
      value: null,
      values:
        isComplete && verdict.kind === 'scored'
          ? [verdict.performance.generate_speed ?? 0, verdict.fitness]
          : null,
      distributions: Object.fromEntries(
        known.map(({ name, distribution }) => [name, JSON.stringify(distribution)]),
      ),
      params: Object.fromEntries(
        known.map(({ name, value, distribution }) => [name, internal(value, distribution)]),
      ),
      user_attrs: {
        trial_id: record.trial_id,
        group_id: record.group_id,
        ...performance,
        ...(verdict.kind === 'scored' ? {} : { error: verdict.error.message }),
        ...(record.confirms === null ? {} : { confirms: record.confirms }),
      },
      system_attrs: { constraints: constraintsOf(record, run.slos) },
      intermediate_values: {},
    });
  }
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}
