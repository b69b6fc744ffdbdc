import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RunEvent } from '../../src/base/events.ts';
import { groupId, ms, trialId } from '../../src/base/units.ts';
import { isLive } from '../../src/ui/live.ts';
import { clockText, render, sparkline } from '../../src/ui/render.ts';
import { emptyView, reduce, secondsLeft, type View } from '../../src/ui/view.ts';

const after = (...events: readonly (readonly [number, RunEvent])[]): View =>
  events.reduce((view, [at, event]) => reduce(view, event, ms(at)), emptyView);

const begun: [number, RunEvent] = [
  0,
  {
    type: 'run.started',
    runId: 'r1',
    evaluations: 8,
    groups: 2,
    resumed: false,
    directory: 'd',
    budgetSeconds: null,
  },
];
const ready = (group: number): [number, RunEvent] => [
  0,
  { type: 'group.ready', groupId: groupId(group), hosts: ['a', 'b'], seconds: 0.1 },
];
const start = (at: number, trial: number, group: number): [number, RunEvent] => [
  at,
  { type: 'trial.started', trialId: trialId(trial), groupId: groupId(group), params: { X: 1 } },
];
const end = (at: number, trial: number, group: number, more: object = {}): [number, RunEvent] => [
  at,
  {
    type: 'trial.finished',
    trialId: trialId(trial),
    groupId: groupId(group),
    kind: 'scored',
    reusedFrom: null,
    confirms: null,
    feasible: true,
    isBest: true,
    load: null,
    loads: 1,
    told: trial + 1,
    evaluations: 8,
    generateSpeed: 100 * (trial + 1),
    ttftSeconds: 0.25,
    tpotSeconds: 0.02,
    successRate: 1,
    fitness: 1,
    endedEarly: false,
    spare: { slo: 'TPOT', share: 0.2 },
    error: null,
    ...more,
  },
];

describe('the live view', () => {
  test('shows progress, the best against the baseline, every group with its phase, and what is left', () => {
    const view = after(
      begun,
      ready(0),
      ready(1),
      start(0, 0, 0),
      start(0, 1, 1),
      end(60_000, 0, 0),
      start(60_000, 2, 0),
      [60_000, { type: 'trial.phase', trialId: trialId(2), groupId: groupId(0), phase: 'start' }],
      end(90_000, 1, 1),
    );
    // Two trials took 150 s together; six are left for two groups.
    expect(secondsLeft(view, ms(0))).toBe(225);
    const lines = render(view, ms(102_000), { columns: 120, rows: 30 }).split('\n');
    expect(lines[0]).toBe('run r1  1:42, about 3:45 left');
    expect(lines[1]).toMatch(/^█+░+ 2\/8 {2}2 measured, 0 infeasible, 0 failed, 1 running$/);
    expect(lines[2]).toBe(
      'best      trial 1: 200.0 tok/s, 2.00 × baseline, 20 % to spare in TPOT, TTFT 250.0 ms, TPOT 20.0 ms',
    );
    expect(lines[3]).toBe('          ▁█');
    expect(lines[4]).toBe('group 0   trial 2    starting  0:42');
    expect(lines[5]).toBe('group 1   idle');
    expect(lines.at(-1)).toMatch(/^\[2\/8\] trial 1/);
  });

  test('a benchmark tells how far it is, and how fast', () => {
    const progress = (at: number, done: number): [number, RunEvent] => [
      at,
      { type: 'trial.progress', trialId: trialId(0), groupId: groupId(0), done, total: 1000 },
    ];
    const running: [number, RunEvent] = [
      0,
      { type: 'trial.phase', trialId: trialId(0), groupId: groupId(0), phase: 'benchmark' },
    ];
    const view = after(
      begun,
      ready(0),
      start(0, 0, 0),
      running,
      progress(0, 0),
      progress(1000, 41),
      progress(2000, 82),
    );
    const line = (of: View): string | undefined =>
      render(of, ms(5000), { columns: 100, rows: 30 }).split('\n')[3];
    expect(line(view)).toBe('group 0   trial 0    benchmark 82/1000 requests, 41.0 req/s  0:05');
    // The next load of the same service begins anew.
    expect(line(reduce(view, progress(3000, 3)[1], ms(3000)))).toBe(
      'group 0   trial 0    benchmark 3/1000 requests  0:05',
    );
  });

  test('what was ended early has no numbers, and is never the best', () => {
    const none = {
      generateSpeed: null,
      ttftSeconds: null,
      tpotSeconds: null,
      feasible: false,
      isBest: false,
    };
    const view = after(
      begun,
      ready(0),
      start(0, 0, 0),
      end(1000, 0, 0),
      start(1000, 1, 0),
      end(2000, 1, 0, { ...none, endedEarly: true }),
    );
    expect(view.best?.trialId).toBe(0);
    expect(view.lines.at(-1)).toBe('[2/8] trial 1 on group 0: ended early, it could not win any more');
  });

  test('a budget that is nearer than the last trial bounds what is left', () => {
    const [at, event] = begun;
    const view = after(
      [at, { ...event, budgetSeconds: 100 } as RunEvent],
      ready(0),
      start(0, 0, 0),
      end(60_000, 0, 0),
    );
    expect(secondsLeft(view, ms(60_000))).toBe(40);
  });

  test('keys: help, the events alone, and a pause that is seen', () => {
    const view = after(begun, ready(0), ready(1), start(0, 0, 0), [10, { type: 'run.paused', paused: true }]);
    const screen = { columns: 100, rows: 30, keys: true };
    const shown = render(view, ms(20), screen);
    expect(shown).toContain('PAUSED (p goes on)  (? help)');
    expect(shown).not.toContain('q  stop');
    expect(render(view, ms(20), { ...screen, help: true })).toContain('q  stop');
    const events = render(view, ms(20), { ...screen, log: true });
    expect(events).not.toContain('group 0   trial');
    expect(events).toContain('paused: what runs goes on to its end');
  });

  test('a sparkline goes from the least to the most, however wide', () => {
    expect(sparkline([1, 2, 3, 4, 5, 6, 7, 8], 80)).toBe('▁▂▃▄▅▆▇█');
    expect(sparkline([5, 5], 80)).toBe('▄▄');
    expect(sparkline([1, 9, 9, 9], 2)).toBe('▄▄');
    expect(sparkline([1, 2], 0)).toBe('');
  });

  test('a group that is down says why, and is not counted on', () => {
    const down: [number, RunEvent] = [
      70_000,
      { type: 'group.down', groupId: groupId(1), reason: 'Cannot reach b', circuit: 'open' },
    ];
    const view = after(begun, ready(0), ready(1), start(0, 0, 0), end(60_000, 0, 0), down);
    expect(secondsLeft(view, ms(0))).toBe(7 * 60);
    expect(render(view, ms(75_000), { columns: 80, rows: 24 })).toContain(
      'group 1   quarantined 0:05: Cannot reach b',
    );
    const back = reduce(view, { type: 'group.recovered', groupId: groupId(1) }, ms(80_000));
    expect(back.groups.get(groupId(1))).toEqual({ state: 'idle' });
  });

  test('fits every screen, whatever happened', () => {
    const groups = Array.from({ length: 300 }, (_, i) => ready(i));
    const note: [number, RunEvent] = [1, { type: 'note', text: `a\nb ${'x'.repeat(500)}` }];
    const view = after(begun, ...groups, start(0, 0, 7), end(5000, 0, 7), note, note, note, note);
    const screens = fc.record({
      columns: fc.integer({ min: 20, max: 300 }),
      rows: fc.integer({ min: 6, max: 100 }),
    });
    const property = fc.property(screens, (screen) => {
      const lines = render(view, ms(9000), screen).split('\n');
      expect(lines.length).toBeLessThan(screen.rows);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(screen.columns);
    });
    fc.assert(property);
    expect(render(view, ms(0), { columns: 80, rows: 24 })).toMatch(/and \d+ more groups/);
  });

  test('moves only where a person looks at a terminal', () => {
    const tty = { isTTY: true };
    expect(isLive(tty, {})).toBe(true);
    expect(isLive({ isTTY: false }, {})).toBe(false);
    expect(isLive(tty, { CI: 'true' })).toBe(false);
    expect(isLive(tty, { NO_COLOR: '1' })).toBe(false);
    expect(isLive(tty, { TERM: 'dumb' })).toBe(false);
  });

  test('times as people read them', () => {
    expect([0, 42, 725, 11_229].map(clockText)).toEqual(['0:00', '0:42', '12:05', '3:07:09']);
  });
});
