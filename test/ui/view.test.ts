import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RunEvent } from '../../src/base/events.ts';
import { groupId, ms, trialId } from '../../src/base/units.ts';
import { isLive } from '../../src/ui/live.ts';
import { clockText, render } from '../../src/ui/render.ts';
import { emptyView, reduce, secondsLeft, type View } from '../../src/ui/view.ts';

const after = (...events: readonly (readonly [number, RunEvent])[]): View =>
  events.reduce((view, [at, event]) => reduce(view, event, ms(at)), emptyView);

const begun: [number, RunEvent] = [
  0,
  { type: 'run.started', runId: 'r1', evaluations: 8, groups: 2, resumed: false, directory: 'd' },
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
    expect(secondsLeft(view)).toBe(225);
    const lines = render(view, ms(102_000), { columns: 120, rows: 30 }).split('\n');
    expect(lines[0]).toBe('run r1  1:42, about 3:45 left');
    expect(lines[1]).toMatch(/^█+░+ 2\/8 {2}2 measured, 0 infeasible, 0 failed$/);
    expect(lines[2]).toBe('best      trial 1: 200.0 tok/s, TTFT 250.0 ms, TPOT 20.0 ms, 2.00 × baseline');
    expect(lines[3]).toBe('group 0   trial 2    starting  0:42');
    expect(lines[4]).toBe('group 1   idle');
    expect(lines.at(-1)).toMatch(/^\[2\/8\] trial 1/);
  });

  test('a group that is down says why, and is not counted on', () => {
    const down: [number, RunEvent] = [
      70_000,
      { type: 'group.down', groupId: groupId(1), reason: 'Cannot reach b', circuit: 'open' },
    ];
    const view = after(begun, ready(0), ready(1), start(0, 0, 0), end(60_000, 0, 0), down);
    expect(secondsLeft(view)).toBe(7 * 60);
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
