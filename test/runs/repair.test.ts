import { cpSync, mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { EventBus } from '../../src/base/events.ts';
import { groupId, ms } from '../../src/base/units.ts';
import { simulatedStudy } from '../../src/cli/demo-study.ts';
import { registry, runStudy } from '../../src/compose.ts';
import { resolveSettings } from '../../src/config/settings.ts';
import { circuitPolicy } from '../../src/core/resilience/circuit-breaker.ts';
import { circuitsOf } from '../../src/parallel/circuit-history.ts';
import type { JournalEntry, TrialRecord } from '../../src/parallel/records.ts';
import { scanJournal } from '../../src/runs/journal-content.ts';
import { repairJournal } from '../../src/runs/repair.ts';

const run = 'sim-3';
const trials = 16;

/** On one group nothing but the search decides what comes next. */
const oneGroup = { groups: [{ groupId: 0, hosts: [{ host: 'sim0' }] }], warnings: [] };

async function simulate(output: string, resume?: string, hosts?: typeof oneGroup) {
  const values = { ...simulatedStudy, n_particles: 4, iters: 4, load_probes: 2, confirm_runs: 0, output };
  const input = {
    document: { values, origin: {}, files: [] },
    flags: { simulate: true, seed: 3 },
    hosts,
  };
  const events = new EventBus();
  return runStudy({ settings: resolveSettings(input, registry), input, events, resume }, never);
}

const toldOf = (bytes: Buffer): TrialRecord[] =>
  scanJournal(bytes).entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));

describe('a journal of a whole run', () => {
  let whole: string;
  let bytes: Buffer;
  const journal = (output: string): string => join(output, 'runs', run, 'journal.jsonl');
  const copy = (): string => {
    const output = mkdtempSync(join(tmpdir(), 'optimizer-torn-'));
    cpSync(whole, output, { recursive: true });
    return output;
  };
  beforeAll(async () => {
    whole = mkdtempSync(join(tmpdir(), 'optimizer-whole-'));
    const { error } = await simulate(whole);
    expect(error).toBeUndefined();
    bytes = readFileSync(journal(whole));
  });

  test('torn at every byte: what was whole is there, and nothing else', () => {
    const ends = [0];
    for (const [at, byte] of bytes.entries()) if (byte === 0x0a) ends.push(at + 1);
    const all = scanJournal(bytes).entries;
    expect(all.length).toBe(ends.length - 1);
    for (let cut = 0; cut <= bytes.length; cut++) {
      // Reading it all again for each byte would take minutes: a cut is only read where it tears a line.
      const lines = ends.filter((end) => end <= cut).length - 1;
      const from = ends[Math.max(0, lines - 1)]!;
      const { entries, damaged, intactBytes } = scanJournal(bytes.subarray(from, cut));
      expect(damaged).toEqual([]);
      expect(from + intactBytes).toBe(ends[lines]);
      expect(entries).toEqual(all.slice(Math.max(0, lines - 1), lines));
    }
  });

  test('resumed at any entry: every trial is told once, and what had been told stays as it was', async () => {
    const length = scanJournal(bytes).entries.length;
    const lines = bytes.toString('utf8').split('\n');
    for (let kept = 1; kept < length - 1; kept += 3) {
      const output = copy();
      const part = `${lines.slice(0, kept).join('\n')}\n`;
      truncateSync(journal(output), Buffer.byteLength(part) + 5);
      const before = toldOf(Buffer.from(part));
      const { error, summary } = await simulate(output, run);
      expect(error).toBeUndefined();
      const told = toldOf(readFileSync(journal(output)));
      expect(told.slice(0, before.length)).toEqual(before);
      expect(told.map(({ trial_id }) => trial_id as number).sort((a, b) => a - b)).toEqual(
        Array.from({ length: trials }, (_, id) => id),
      );
      // A run that was never stopped and in which the trials ended in this order has asked for the same, and its best
      // is the same: going on from the end replays it, and is refused where anything else would be asked.
      const uninterrupted = readFileSync(journal(output), 'utf8')
        .split('\n')
        .filter((line) => !/"type":"(resumed|run-ended)"/.test(line));
      writeFileSync(journal(output), uninterrupted.join('\n'));
      const replayed = await simulate(output, run);
      expect(replayed.error).toBeUndefined();
      expect(replayed.summary.best).toEqual(summary.best);
      expect(toldOf(readFileSync(journal(output)))).toEqual(told);
      expect(summary.best).not.toBeNull();
    }
  });

  test('resumed at any entry on one group: the trials and the best of a run that was never stopped', async () => {
    const output = mkdtempSync(join(tmpdir(), 'optimizer-whole-'));
    const { summary } = await simulate(output, undefined, oneGroup);
    const text = readFileSync(journal(output), 'utf8');
    const essence = (records: readonly TrialRecord[]) =>
      records.map(({ trial_id, params, reused_from, verdict }) => ({
        ...{ trial_id, params, reused_from, kind: verdict.kind },
        fitness: verdict.kind === 'scored' ? verdict.fitness : null,
      }));
    const whole = essence(toldOf(Buffer.from(text)));
    expect(whole).toHaveLength(trials);
    const lines = text.split('\n').slice(0, -2);
    for (let kept = 1; kept < lines.length; kept++) {
      writeFileSync(journal(output), `${lines.slice(0, kept).join('\n')}\n{"type":`);
      const resumed = await simulate(output, run, oneGroup);
      expect(resumed.error).toBeUndefined();
      expect(essence(toldOf(readFileSync(journal(output))))).toEqual(whole);
      expect(resumed.summary.best?.trial_id).toBe(summary.best?.trial_id);
      expect(resumed.summary.best?.params).toEqual(summary.best?.params);
    }
  });

  test('damaged inside: the line is named, and after a repair nothing is measured again that had been', async () => {
    const output = copy();
    const lines = bytes.toString('utf8').split('\n');
    const told = lines.flatMap((line, index) => (line.includes('"type":"told"') ? [index] : []));
    const broken = told[5]!;
    const damaged = lines.map((line, index) =>
      index === broken ? `${line.slice(0, 40)}\u0000\u0000` : line,
    );
    writeFileSync(journal(output), damaged.join('\n'));
    await expect(simulate(output, run)).rejects.toThrow(
      new RegExp(`journal\\.jsonl:${broken + 1} is damaged`),
    );

    const directory = join(output, 'runs', run);
    const dry = await repairJournal(directory, true, new Date(0));
    expect(dry).toMatchObject({ kept: broken, recovered: told.length - 6, original: undefined });
    expect(dry.damaged.map(({ line }) => line)).toEqual([broken + 1]);
    expect(readFileSync(journal(output), 'utf8')).toBe(damaged.join('\n'));

    const mended = await repairJournal(directory, false, new Date(0));
    expect(readFileSync(mended.original!, 'utf8')).toBe(damaged.join('\n'));
    const { error, summary } = await simulate(output, run);
    expect(error).toBeUndefined();
    const after = toldOf(readFileSync(journal(output)));
    expect(after.map(({ trial_id }) => trial_id as number).sort((a, b) => a - b)).toEqual(
      Array.from({ length: trials }, (_, id) => id),
    );
    const known = new Set(
      told
        .filter((_, n) => n > 5)
        .map((index) => (JSON.parse(lines[index]!) as { record: TrialRecord }).record),
    );
    const again = after.filter(({ params, reused_from }) =>
      reused_from === null
        ? [...known].some(
            (one) => one.verdict.kind === 'scored' && JSON.stringify(one.params) === JSON.stringify(params),
          )
        : false,
    );
    expect(again.filter(({ trial_id }) => trial_id > 5)).toEqual([]);
    expect(summary.evaluations.reused).toBeGreaterThan(0);
    expect(await repairJournal(directory, false, new Date(0))).toMatchObject({
      damaged: [],
      original: undefined,
    });
  });
});

describe('circuits of a run that goes on', () => {
  const at = (seconds: number): string => new Date(seconds * 1000).toISOString();
  const failed = (seconds: number): JournalEntry => ({
    type: 'attempt-failed',
    at: at(seconds),
    trial_id: 0 as never,
    group_id: groupId(1),
    busy_s: 0,
    error: { class: 'x', message: 'm', remedy: 'r', blame: 'node', details: {} },
  });
  const clock = (seconds: number) => ({ now: () => ms(1_000_000), wallTime: () => new Date(seconds * 1000) });
  const five = [1, 2, 3, 4, 5].map(failed);

  test('an open one is open, for what is left of its cool-down', () => {
    const circuit = circuitsOf(five, clock(25), circuitPolicy).get(groupId(1));
    expect(circuit).toEqual({ state: 'open', failures: 5, openedAt: 1_000_000 - 20_000 });
  });

  test('four failures are remembered: one more opens it', () => {
    const circuit = circuitsOf(five.slice(1), clock(25), circuitPolicy).get(groupId(1));
    expect(circuit).toMatchObject({ state: 'closed', failures: 4 });
  });

  test('what repairs did to it counts; a clock that was put back keeps nobody out for longer', () => {
    const entries: JournalEntry[] = [
      failed(1),
      { type: 'circuit', at: at(2), group_id: groupId(1), state: 'open', cause: null },
    ];
    const circuit = circuitsOf(entries, clock(-500), circuitPolicy).get(groupId(1));
    expect(circuit).toMatchObject({ state: 'open', openedAt: 1_000_000 });
  });
});
