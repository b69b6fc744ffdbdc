import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parse } from 'csv-parse/sync';
import { importance } from '../../src/core/analysis/importance.ts';
import { createRng } from '../../src/base/rng.ts';
import { differenceOf, type RunFacts } from '../../src/report/difference.ts';
import { embedded, html } from '../../src/report/html.ts';
import { reportModel } from '../../src/report/model.ts';
import { optunaJournal } from '../../src/report/optuna.ts';
import { paretoFront } from '../../src/report/pareto-front.ts';
import { paretoTable } from '../../src/report/pareto.ts';
import { deviceHours } from '../../src/report/timeline.ts';
import { startOf, stateOf, writeReport } from '../../src/run-report.ts';
import { trialId } from '../../src/base/units.ts';
import { BestSoFar, bestOf } from '../../src/parallel/candidates.ts';
import type { JournalEntry } from '../../src/parallel/records.ts';
import { madeUpJournal, type MadeUp } from '../support/journal.ts';

const toldOf = (entries: readonly JournalEntry[]) =>
  entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));

function modelOf(entries: readonly JournalEntry[]) {
  return reportModel(entries, stateOf(entries).summary, startOf(entries)!.slos, {});
}

describe('importance', () => {
  const rng = createRng(3);
  const rows = Array.from({ length: 200 }, () => ({ a: rng.next(), b: rng.next(), noise: rng.next() }));

  test('is what a parameter explains: nearly all, a part, nothing', () => {
    const cost = (row: (typeof rows)[number]): number => 4 * row.a + row.b;
    const of = (name: 'a' | 'b' | 'noise') =>
      importance(rows.map((row) => ({ value: row[name], cost: cost(row) })))!;
    expect(of('a')).toBeGreaterThan(0.8);
    expect(of('b')).toBeLessThan(0.2);
    expect(of('noise')).toBeLessThan(0.05);
  });

  test('of two values it is the same whichever is the greater one, and whatever they are called', () => {
    const of = (few: number | string, many: number | string) =>
      importance(
        Array.from({ length: 12 }, (_, i) => ({ value: i < 3 ? few : many, cost: i < 3 ? 1 : 5 + (i % 2) })),
      )!;
    expect(of(32, 128)).toBeGreaterThan(0.9);
    expect(of(-32, -128)).toBe(of(32, 128));
    expect(of('a', 'b')).toBe(of(32, 128));
  });

  test('of choices it is the same whatever they are called', () => {
    const of = (name: (on: boolean) => string | boolean) =>
      importance(rows.map(({ a, b }) => ({ value: name(a > 0.5), cost: (a > 0.5 ? 1 : 0) + 0.1 * b })))!;
    expect(of((on) => on)).toBeGreaterThan(0.9);
    expect(of((on) => (on ? 'x' : 'y'))).toBe(of((on) => on));
  });

  test('says nothing of what is too little, and never leaves 0 to 1', () => {
    expect(importance([{ value: 1, cost: 1 }])).toBeUndefined();
    expect(importance(rows.map(({ a }) => ({ value: a, cost: 1 })))).toBeUndefined();
    const sample = fc.record({
      value: fc.integer({ min: 0, max: 9 }),
      cost: fc.double({ min: 0, max: 9, noNaN: true }),
    });
    fc.assert(
      fc.property(fc.array(sample, { minLength: 10 }), (samples) => {
        const share = importance(samples);
        expect(share === undefined || (share >= 0 && share <= 1)).toBe(true);
      }),
    );
  });
});

test('a Pareto front has no point that another one beats, and beats all that it leaves out', () => {
  const point = fc.tuple(
    fc.integer({ min: 0, max: 9 }),
    fc.integer({ min: 0, max: 9 }),
    fc.integer({ min: 0, max: 9 }),
  );
  fc.assert(
    fc.property(fc.array(point), (points) => {
      const front = paretoFront(points, (one) => one);
      const covers = (a: number[], b: number[]) => a.every((x, i) => x <= b[i]!);
      for (const one of points) expect(front.some((other) => covers(other, one))).toBe(true);
      for (const one of front) expect(front.filter((other) => covers(other, one))).toEqual([one]);
    }),
  );
});

test('the best so far is the best of what was told, after every trial', () => {
  for (const seed of [1, 2, 3]) {
    const entries = madeUpJournal({ trials: 80, seed, noise: 0.2 });
    const { slos } = startOf(entries)!;
    // Some once more, as a swarm does that comes back to where it was.
    const told = toldOf(entries).flatMap((record, i) =>
      i % 7 === 3 ? [record, { ...record, trial_id: trialId(1000 + i) }] : [record],
    );
    const so = new BestSoFar([], slos);
    told.forEach((record, index) => {
      const best = bestOf(told.slice(0, index + 1), slos);
      expect(so.told(record)?.record.trial_id).toBe(best?.record.trial_id);
    });
  }
});

describe('the report', () => {
  const entries = madeUpJournal({ trials: 60 });
  const model = modelOf(entries);

  test('has every trial, the baseline, the best, and what varied', () => {
    expect(model.trials).toHaveLength(66);
    expect(model.present).toMatchObject({ trial: 0, isItsTrial: true });
    expect(model.trials[model.recommended!.trial]!.params[0]).toBeGreaterThan(60);
    expect(model.fields.map(({ name, kind }) => [name, kind])).toEqual([
      ['MAX_NUM_SEQS', 'number'],
      ['GPU_MEMORY_UTILIZATION', 'number'],
      ['SCHEDULER', 'category'],
    ]);
    expect(model.importance[0]!.name).toBe('MAX_NUM_SEQS');
    expect(model.failures).toEqual([
      { cause: 'OutOfMemoryError', blame: 'params', count: expect.any(Number) },
    ]);
  });

  test('finalists have an interval that holds their mean', () => {
    expect(model.finalists.map(({ trial, is }) => [trial, is])).toEqual([
      [0, 'present'],
      [model.recommended!.trial, 'recommended'],
    ]);
    for (const { again, interval } of model.finalists) {
      const mean = again.reduce((sum, one) => sum + one, 0) / again.length;
      expect(interval!.low).toBeLessThan(mean);
      expect(interval!.high).toBeGreaterThan(mean);
    }
  });

  test('nothing overlaps on a group, and the hours add up', () => {
    for (const group of [0, 1, 2, 3]) {
      const spans = model.spans.filter((span) => span.group === group).sort((a, b) => a.from_s - b.from_s);
      for (const [i, span] of spans.entries())
        expect(span.from_s).toBeGreaterThanOrEqual((spans[i - 1]?.to_s ?? 0) - 0.02);
    }
    const hours = deviceHours(
      model.spans,
      new Map(model.groups.map(({ id, devices }) => [id, devices ?? undefined])),
    )!;
    const failed = toldOf(entries).filter(({ verdict }) => verdict.kind === 'infeasible');
    expect(hours.failed).toBeCloseTo((failed.reduce((sum, one) => sum + one.start_s, 0) * 16) / 3600, 1);
    expect(hours.idle).toBeLessThan(0.1 * hours.spent);
    expect(deviceHours(model.spans, new Map([[0, undefined]]))).toBeUndefined();
  });

  test('a quarantine is a span of its own, also one that never ended', () => {
    const opened: JournalEntry = {
      ...{ type: 'circuit', at: '2026-01-01T00:01:00.000Z', group_id: 1 as never, state: 'open', cause: 'x' },
    };
    const closed: JournalEntry = { ...opened, at: '2026-01-01T00:03:00.000Z', state: 'closed' };
    const spans = (more: JournalEntry[]) =>
      modelOf([...entries, ...more]).spans.filter(({ kind }) => kind === 'quarantined');
    expect(spans([opened, closed])).toMatchObject([{ group: 1, from_s: 60, to_s: 180 }]);
    expect(spans([opened, { ...closed, group_id: 0 as never }])).toMatchObject([{ group: 1, from_s: 60 }]);
  });

  test('what others wrote is text', () => {
    const hostile = `</script><img src=x onerror=alert(1)>"'&`;
    expect(html`<b title="${hostile}">${hostile}</b>`.html).not.toMatch(/<img|"'/);
    const inside = embedded({ hostile }).html;
    expect(inside).not.toContain('<');
    expect(JSON.parse(inside)).toEqual({ hostile });
  });

  test('pareto.csv has what nothing beats, and no more', () => {
    const rows = parse<Record<string, string>>(paretoTable(toldOf(entries), startOf(entries)!.slos), {
      columns: true,
    });
    const speeds = rows.map((row) => Number(row['generate_speed']));
    expect(Math.max(...speeds)).toBeCloseTo(
      Math.max(...model.trials.filter(({ origin }) => origin === 'search').map(({ speed }) => speed ?? 0)),
      -2,
    );
    for (const a of rows)
      for (const b of rows)
        if (a !== b)
          expect(
            Number(b['generate_speed']) >= Number(a['generate_speed']) &&
              Number(b['time_to_first_token']) <= Number(a['time_to_first_token']) &&
              Number(b['time_per_output_token']) <= Number(a['time_per_output_token']),
          ).toBe(false);
  });
});

test("the Optuna journal has the fields of JournalFileStorage, and its values are the run's", () => {
  const entries = madeUpJournal({ trials: 30 });
  const lines = optunaJournal(startOf(entries)!, toldOf(entries))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const [study] = lines;
  expect(study).toMatchObject({
    op_code: 0,
    worker_id: expect.any(String),
    study_name: 'optimizer made-up',
    directions: [2, 1],
  });
  const trials = lines.filter(({ op_code }) => op_code === 4);
  const told = toldOf(entries);
  expect(trials).toHaveLength(told.length);
  trials.forEach((trial, i) => {
    const { verdict, params } = told[i]!;
    expect(Object.keys(trial)).toEqual(
      expect.arrayContaining([
        'study_id',
        'datetime_start',
        'datetime_complete',
        'state',
        'value',
        'values',
        'distributions',
        'params',
        'user_attrs',
        'system_attrs',
        'intermediate_values',
      ]),
    );
    expect(trial.datetime_start).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}$/);
    expect(trial.state).toBe(verdict.kind === 'scored' ? 1 : 2);
    if (verdict.kind === 'scored')
      expect(trial.values).toEqual([verdict.performance.generate_speed, verdict.fitness]);
    expect(trial.system_attrs.constraints).toHaveLength(3);
    const isMet = trial.system_attrs.constraints.every((one: number) => one <= 0);
    expect(isMet).toBe(verdict.kind === 'scored' && verdict.violations.length === 0);
    for (const [name, text] of Object.entries(trial.distributions as Record<string, string>)) {
      const { name: kind, attributes } = JSON.parse(text);
      const value = trial.params[name] as number;
      if (kind === 'CategoricalDistribution') expect(attributes.choices[value]).toBe(params[name]);
      else {
        expect(kind).toBe(name === 'MAX_NUM_SEQS' ? 'IntDistribution' : 'FloatDistribution');
        expect(value).toBe(params[name]);
        expect(value >= attributes.low && value <= attributes.high).toBe(true);
      }
    }
  });
});

describe('the difference of two runs', () => {
  const facts = (made: Partial<MadeUp>): RunFacts => {
    const entries = madeUpJournal({ trials: 30, ...made });
    const { slos, setup } = startOf(entries)!;
    const space = { MAX_NUM_SEQS: `8 … ${128 * (made.seed ?? 1)}` };
    return { told: toldOf(entries), slos, settings: { seed: String(made.seed ?? 1) }, space, setup };
  };

  test('a slower one is worse, the same one and a faster one are not', () => {
    expect(differenceOf(facts({}), facts({ speed: 0.8 })).verdict).toBe('worse');
    expect(differenceOf(facts({}), facts({ speed: 1.2 })).verdict).toBe('not worse');
    expect(differenceOf(facts({}), facts({})).verdict).toBe('not worse');
  });

  test('what scatters more than it differs is no change', () => {
    const { verdict, best } = differenceOf(facts({ noise: 0.4 }), facts({ noise: 0.4, speed: 0.97 }));
    expect(verdict).toBe('not worse');
    expect(best!.slower).toBeLessThan(0.95);
  });

  test('without a repeat nothing can be said; without anything feasible the second is worse', () => {
    expect(differenceOf(facts({ confirmations: 0 }), facts({ confirmations: 0, speed: 0.5 })).verdict).toBe(
      'unknown',
    );
    const nothing = { ...facts({}), told: facts({}).told.filter(({ verdict }) => verdict.kind !== 'scored') };
    expect(differenceOf(facts({}), nothing).verdict).toBe('worse');
    expect(differenceOf(nothing, facts({})).verdict).toBe('unknown');
  });

  test('settings and common configurations are side by side', () => {
    const { settings, space, common, same_setup } = differenceOf(facts({}), facts({ seed: 2 }));
    expect(space).toEqual([{ key: 'MAX_NUM_SEQS', values: ['8 … 128', '8 … 256'] }]);
    expect(differenceOf({ ...facts({}), space: undefined }, facts({})).space).toBeNull();
    expect(settings).toEqual([{ key: 'seed', values: ['1', '2'] }]);
    expect(same_setup).toBe(true);
    expect(common.map(({ trials }) => trials)).toContainEqual([0, 0]);
    expect(common[0]!.counts).toEqual([3, 3]);
  });
});

test('files that a full disk left half written cost no report', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-report-'));
  const entries = madeUpJournal({ trials: 30 });
  const best = stateOf(entries).summary.best!.trial_id;
  mkdirSync(join(directory, 'trials', String(best)), { recursive: true });
  for (const half of ['', '{"stages":[{"proc']) {
    writeFileSync(join(directory, 'trials', String(best), 'plan.json'), half);
    writeFileSync(join(directory, 'settings.json'), half);
    await writeReport(directory, entries);
    expect(readFileSync(join(directory, 'report.html'), 'utf8')).toContain('is the best configuration');
    rmSync(join(directory, 'report.html'));
  }
  rmSync(directory, { recursive: true });
});
