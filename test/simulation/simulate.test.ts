import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { registry, runStudy } from '../../src/compose.ts';
import { never } from '../../src/base/cancellation.ts';
import { EventBus, type RunEvent } from '../../src/base/events.ts';
import { VirtualClock } from '../../src/base/virtual-clock.ts';
import { fromSeconds, ms } from '../../src/base/units.ts';
import { simulatedStudy } from '../../src/cli/demo-study.ts';
import { warmStart } from '../../src/runs/warm-start.ts';
import { resolveSettings, type Settings, type SettingsInput } from '../../src/config/settings.ts';
import { vllmSweep } from '../../src/report/vllm-sweep.ts';
import { readHistory } from '../../src/runs/history.ts';
import type { Table } from '../../src/config/toml.ts';
import type { JournalEntry } from '../../src/parallel/records.ts';

interface Asked {
  readonly values?: Table;
  readonly seed?: number;
  readonly output?: string;
  readonly resume?: string;
  readonly history?: SettingsInput['history'];
  readonly seeds?: SettingsInput['seeds'];
  readonly until?: (event: RunEvent) => boolean;
}

async function simulate({ values = {}, seed = 0, output, resume, history, seeds, until }: Asked = {}) {
  const directory = output ?? mkdtempSync(join(tmpdir(), 'optimizer-simulate-'));
  const input = {
    document: { values: { ...simulatedStudy, output: directory, ...values }, origin: {}, files: [] },
    flags: { simulate: true, seed },
    history,
    seeds,
  };
  const events = new EventBus();
  const stop = new AbortController();
  const seen: RunEvent[] = [];
  events.subscribe((event) => {
    seen.push(event);
    if (until?.(event) === true) stop.abort(new Error('enough'));
  });
  const { summary, paths, error } = await runStudy(
    { settings: resolveSettings(input, registry), input, events, resume },
    until === undefined ? never : stop.signal,
  );
  const journal = readFileSync(paths.journal, 'utf8');
  const entries = journal
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as JournalEntry);
  return { summary, paths, error, journal, entries, seen, directory };
}

describe('the virtual clock', () => {
  test('rings in the order of time, and of setting where the time is the same', async () => {
    const clock = new VirtualClock();
    const rung: string[] = [];
    const wait = async (name: string, duration: number): Promise<void> => {
      await clock.sleep(ms(duration), never);
      rung.push(`${name}@${clock.now()}`);
    };
    await clock.run(Promise.all([wait('b', 20), wait('a', 10), wait('c', 20), wait('d', 0)]));
    expect(rung).toEqual(['d@0', 'a@10', 'b@20', 'c@20']);
    expect(clock.wallTime().toISOString()).toBe('2000-01-01T00:00:00.020Z');
  });

  test('an aborted sleep rejects at once and takes no time', async () => {
    const clock = new VirtualClock();
    const stop = new AbortController();
    const sleeping = clock.sleep(fromSeconds(3600), stop.signal);
    stop.abort(new Error('enough'));
    await expect(clock.run(sleeping)).rejects.toThrow('enough');
    expect(clock.now()).toBe(0);
  });
});

describe('a simulated study', () => {
  test('equal arguments give byte-identical files, another seed others', async () => {
    const values = { iters: 5 };
    const [a, b, c] = [
      await simulate({ values }),
      await simulate({ values }),
      await simulate({ values, seed: 1 }),
    ];
    const files = ({ paths }: typeof a) =>
      [paths.journal, paths.csv, paths.summary].map((path) => readFileSync(path, 'utf8'));
    expect(files(a)).toEqual(files(b));
    expect(files(a)).not.toEqual(files(c));
    expect(a.summary).toMatchObject({
      run_id: 'sim-0',
      started_at: expect.stringMatching(/^2000-01-01T/) as string,
    });
  });

  test('finds a configuration that is within the SLOs and much better than the default', async () => {
    for (const seed of [1, 2, 3]) {
      const { summary } = await simulate({ seed });
      expect(summary.best?.feasible).toBe(true);
      expect(summary.improvement.generate_speed_ratio).toBeGreaterThan(1.15);
    }
  });

  test('keeps its budget, and uses the tail of it to confirm', async () => {
    const { summary, entries } = await simulate({ values: { budget: '12min' } });
    expect(summary.status).toBe('budget');
    expect(summary.exit_code).toBe(0);
    expect(summary.duration_s).toBeLessThanOrEqual(720);
    expect(summary.duration_s).toBeGreaterThan(480);
    const told = entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
    expect(told.filter(({ confirms }) => confirms !== null)).toHaveLength(12);
    expect(summary.trust).toMatchObject({ runs: 3 });
  });

  test('the load is searched on the running service, and the present one stays the baseline', async () => {
    const { summary, entries } = await simulate({ values: { iters: 3 } });
    const told = entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
    const first = told.find(({ trial_id }) => trial_id === 0);
    expect(first?.as_is?.params).toEqual(summary.baseline?.params);
    expect(summary.baseline?.params['CONCURRENCY']).toBe(32);
    expect(first?.curve?.[0]?.load).toEqual({ CONCURRENCY: 32 });
    for (const { curve = [], confirms, verdict } of told) {
      expect(curve.length).toBeLessThanOrEqual(5);
      if (confirms === null && verdict.kind === 'scored') expect(curve.length).toBeGreaterThan(0);
    }
    expect(summary.starts.saved).toBeGreaterThan(summary.starts.made);
  });

  test('any percentile can be an SLO', async () => {
    const { summary, seen } = await simulate({
      values: { iters: 1, slo: ['ttft:p97.5<=800ms', 'tpot<=60ms'] },
    });
    const { ttft_ms: ttft } = summary.best?.performance.percentiles ?? {};
    expect(ttft?.['p97.5']).toBeGreaterThanOrEqual(ttft?.p95 ?? NaN);
    expect(ttft?.['p97.5']).toBeLessThanOrEqual(800);
    const finished = seen.find((event) => event.type === 'trial.finished' && event.kind === 'scored');
    expect(finished).toMatchObject({ load: { CONCURRENCY: expect.any(Number) as number } });
  });

  test('on one group a confirmation uses the service that the last one left', async () => {
    const values = { iters: 1, parallel: { service_groups: [{ group_id: 0, nodes: [{ host: 'a' }] }] } };
    const { entries } = await simulate({ values });
    const told = entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
    const again = told.filter(({ confirms }) => confirms !== null);
    expect(again.filter(({ starts }) => starts === 0).length).toBeGreaterThanOrEqual(2);
    for (const { starts, start_s } of again) expect(start_s > 0.1).toBe(starts === 1);
  });

  test('what is hopeless is ended early: the same answer, sooner', async () => {
    // The same configurations, whatever comes of them.
    const values = { algorithm: 'random', iters: 4 };
    const whole = await simulate({ seed: 3, values: { ...values, abort_hopeless: false } });
    const early = await simulate({ seed: 3, values });
    const censored = early.entries.filter(
      (entry) =>
        entry.type === 'told' && entry.record.verdict.kind === 'scored' && entry.record.verdict.censored,
    );
    expect(censored.length).toBeGreaterThan(3);
    expect(early.summary.duration_s).toBeLessThan(0.97 * whole.summary.duration_s);
    const ratio =
      early.summary.improvement.generate_speed_ratio! / whole.summary.improvement.generate_speed_ratio!;
    expect(ratio).toBeGreaterThan(0.97);
    const flags = early.summary.best?.flags ?? ['none'];
    expect(flags.some((flag) => flag.includes('ended early'))).toBe(false);
  });

  test('where only the load may vary one service is started for the search', async () => {
    const field = { name: 'CONCURRENCY', config_position: 'env', min: 1, max: 128, dtype: 'int', value: 8 };
    const emulator = { preset: 'demo', target_field: [field] };
    const values = { emulator, confirm_runs: 0, parallel: { groups: 'trust' } };
    const { summary } = await simulate({ values });
    expect(summary.starts.made).toBe(1);
    expect(summary.improvement.generate_speed_ratio).toBeGreaterThan(1.5);
  });

  test('begins with what an earlier run of the same setup measured, and with positions alone of another', async () => {
    const first = await simulate({ seed: 4, values: { iters: 3 } });
    const loadOf = (values: Table): Settings =>
      resolveSettings(
        {
          document: {
            values: { ...simulatedStudy, output: first.directory, ...values },
            origin: {},
            files: [],
          },
          flags: { simulate: true },
        },
        registry,
      );
    const same = await warmStart('sim-4', loadOf({}));
    expect(same.history.length).toBeGreaterThan(20);
    expect(same.note).toContain('count as measured');
    const other = await warmStart('sim-4', loadOf({ builtin: { num_prompts: 50 } }));
    expect(other.history).toEqual([]);
    expect(other.seeds).toEqual(same.seeds);
    expect(other.note).toContain('setup was another one');
    const known = await simulate({ seed: 5, values: { iters: 1 }, history: same.history, seeds: same.seeds });
    const asked = known.entries.flatMap((entry) => (entry.type === 'asked' ? [entry.suggestion] : []));
    expect(asked.slice(1, 4).map(({ origin }) => origin)).toEqual(['preset', 'preset', 'preset']);
    const ratio = ({ summary }: typeof first): number => summary.improvement.generate_speed_ratio ?? 0;
    expect(ratio(known)).toBeGreaterThanOrEqual(0.98 * ratio(first));
  });

  test.each([
    ['no-such-run', /no such run or file/],
    ['list.json', /entry 1 names NONSENSE/],
    ['bounds.json', /entry 0 has a value outside/],
    ['broken.json', /JSON/],
    ['null.json', /entry 0 is no table/],
    ['load.json', /entry 0 names no field that is searched/],
    ['README.md', /none of these/],
  ])('--from %s is refused with what can be given', async (name, message) => {
    const output = mkdtempSync(join(tmpdir(), 'optimizer-from-'));
    const files = {
      'list.json': '[{ "MAX_NUM_SEQS": 64 }, { "NONSENSE": 1 }]',
      'bounds.json': '[{ "MAX_NUM_SEQS": 640000 }]',
      ...{ 'null.json': '[null]', 'load.json': '[{ "CONCURRENCY": 64 }]' },
      ...{ 'broken.json': '[{', 'README.md': '' },
    };
    for (const [file, text] of Object.entries(files)) writeFileSync(join(output, file), text);
    const document = { values: { ...simulatedStudy, output }, origin: {}, files: [] };
    const settings = resolveSettings({ document, flags: { simulate: true } }, registry);
    const from = name.includes('.') ? join(output, name) : name;
    await expect(warmStart(from, settings)).rejects.toThrow(message);
  });

  test('the same simulation again replaces itself', async () => {
    const values = { iters: 3 };
    const first = await simulate({ values });
    const again = await simulate({ values, output: first.directory });
    expect(again.journal).toBe(first.journal);
  });

  test('with machines that go down every particle is told, and the groups come back', async () => {
    const { summary, entries, seen, error } = await simulate({
      values: { simulate: { node_failures: 0.15, outage: 30, noise: 0.05 } },
    });
    expect(error).toBeUndefined();
    const asked = entries.filter(({ type }) => type === 'asked').length;
    const told = entries.filter(({ type }) => type === 'told').length;
    expect([asked, told]).toEqual([told, asked]);
    expect(summary.evaluations.retried).toBeGreaterThan(3);
    expect(summary.evaluations.failed_over).toBeGreaterThan(3);
    expect(seen.some(({ type }) => type === 'group.recovered')).toBe(true);
  });

  test('a slow group is given less to do', async () => {
    const { summary } = await simulate({
      values: { abort_hopeless: false, simulate: { group_speeds: [1, 1, 1, 0.4] } },
    });
    const measured = summary.groups.map((group) => group.measured);
    expect(measured[3]).toBeLessThan(0.7 * Math.max(...measured));
  });

  test('interrupted anywhere, it goes on and ends with every trial told once', async () => {
    const values = { iters: 4 };
    // In the search, at its end, and while the answer is confirmed.
    for (const stopAt of [3, 17, 39, 42, 47]) {
      let finished = 0;
      const until = (event: RunEvent): boolean => event.type === 'trial.finished' && ++finished === stopAt;
      const first = await simulate({ until, seed: stopAt, values });
      expect(first.summary.status).toBe('interrupted');
      const { entries, summary } = await simulate({
        output: first.directory,
        resume: `sim-${stopAt}`,
        seed: stopAt,
        values,
      });
      expect(summary.status).toBe('completed');
      const told = entries.flatMap((entry) =>
        entry.type === 'told' ? [entry.record.trial_id as number] : [],
      );
      expect(told.sort((a, b) => a - b)).toEqual(Array.from({ length: told.length }, (_, i) => i));
      expect(told.length).toBe(52);
    }
  });

  const underTwoStages = {
    two_stage: true,
    n_particles: 6,
    iters: 3,
    tpot_penalty: 1,
    max_fine_tune: 4,
    confirm_runs: 1,
    emulator: {
      target_field: [
        { name: 'MAX_NUM_SEQS', config_position: 'env', min: 16, max: 256, dtype: 'int', value: 64 },
        { name: 'CONCURRENCY', config_position: 'env', min: 8, max: 96, dtype: 'int', value: 32 },
        { name: 'REQUESTRATE', config_position: 'env', min: 1, max: 200, dtype: 'float', value: 10 },
      ],
    },
  };

  test('two stages: full concurrency, then the rate that was reached; the best are brought to their SLOs', async () => {
    const { entries, summary } = await simulate({ values: underTwoStages });
    expect(summary.status).toBe('completed');
    const asked = entries.flatMap((entry) => (entry.type === 'asked' ? [entry.suggestion] : []));
    const told = entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
    expect(told.find(({ trial_id: id }) => id === 0)?.params).toMatchObject({
      CONCURRENCY: 32,
      REQUESTRATE: 10,
    }); // the present one as it is
    const searched = told.filter(
      (one) => one.trial_id > 0 && one.confirms === null && one.refines === undefined,
    );
    expect(searched).toHaveLength(17);
    for (const { params, verdict } of searched) {
      expect(params['CONCURRENCY']).toBe(96);
      // Of what was ended early it is a bound, which nothing has reached.
      const isWhole = verdict.kind === 'scored' && verdict.censored !== true;
      const reached = isWhole ? (verdict.performance.throughput ?? 0) : 0;
      expect(Number(params['REQUESTRATE'])).toBeGreaterThan(reached * 0.99);
      expect(Number(params['REQUESTRATE'])).toBeLessThan(200);
    }
    expect(
      searched.filter(({ verdict }) => verdict.kind === 'scored' && !verdict.censored).length,
    ).toBeGreaterThan(9);
    expect(asked.find(({ trialId }) => trialId === 5)?.position).toHaveLength(1);
    const refined = told.filter(({ refines }) => refines !== undefined);
    expect(refined.length).toBeGreaterThan(3);
    for (const root of new Set(refined.map(({ refines }) => refines))) {
      expect(refined.filter(({ refines }) => refines === root).length).toBeLessThanOrEqual(5);
    }
    expect(told.filter(({ confirms }) => confirms !== null).length).toBeGreaterThan(0);
    expect(told.map(({ trial_id }) => trial_id as number).sort((a, b) => a - b)).toEqual(
      told.map((_, i) => i),
    );
  });

  test('interrupted while the best are refined, it goes on to the same trials', async () => {
    const whole = await simulate({ values: underTwoStages, seed: 2 });
    const refining = whole.entries.filter(
      (entry) => entry.type === 'told' && entry.record.refines !== undefined,
    );
    expect(refining.length).toBeGreaterThan(4);
    let finished = 0;
    const until = (event: RunEvent): boolean => event.type === 'trial.finished' && ++finished === 21;
    const first = await simulate({ values: underTwoStages, seed: 2, until });
    const { entries, summary } = await simulate({
      values: underTwoStages,
      seed: 2,
      output: first.directory,
      resume: 'sim-2',
    });
    expect(summary.status).toBe('completed');
    const parameters = (all: readonly JournalEntry[]): string[] =>
      all.flatMap((entry) => (entry.type === 'told' ? [JSON.stringify(entry.record.params)] : [])).sort();
    expect(parameters(entries).length).toBe(parameters(whole.entries).length);
  });

  test('a constraint costs no accelerator time, and the swarm looks elsewhere', async () => {
    const constraint = [
      { expr: 'concurrency * 2 <= max_num_seqs || max_num_seqs >= 200', reason: 'too narrow' },
    ];
    const { entries } = await simulate({ values: { constraint } });
    const told = entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
    const keeps = (params: Readonly<Record<string, unknown>>): boolean => {
      const [seqs, concurrency] = [Number(params['MAX_NUM_SEQS']), Number(params['CONCURRENCY'])];
      return concurrency * 2 <= seqs || seqs >= 200;
    };
    const measured = told.flatMap(({ params, curve = [] }) =>
      curve.map(({ load }) => ({ ...params, ...load })),
    );
    expect(measured.length).toBeGreaterThan(told.length);
    expect(measured.filter((params) => !keeps(params))).toEqual([]);
    const broken = told.filter(({ params }) => !keeps(params));
    for (const { params, verdict, group_id, start_s, benchmark_s } of broken) {
      expect([verdict.kind, benchmark_s]).toEqual(['infeasible', 0]);
      const { message } = (verdict as Extract<typeof verdict, { kind: 'infeasible' }>).error;
      // Others keep it at a smaller load, which is searched once they run: these did not come up.
      if (message.includes('too narrow')) expect([group_id, start_s]).toEqual([null, 0]);
      else {
        expect(message).toContain('KV cache');
        expect(keeps({ ...params, CONCURRENCY: 8 })).toBe(true);
      }
    }
    expect(broken.length).toBeLessThan(told.length / 20);
  });

  test('with MindIE the throughput to aim at is ten times that of the present configuration', async () => {
    const field = (name: string, min: number, max: number, value: number, position = 'env') => ({
      ...{ name, min, max, value, dtype: 'int' },
      config_position: position,
    });
    const { entries, summary } = await simulate({
      values: {
        engine: 'mindie',
        emulator: undefined,
        mindie: {
          target_field: [
            field('max_batch_size', 16, 256, 64, 'BackendConfig.ScheduleConfig.maxBatchSize'),
            field('CONCURRENCY', 8, 96, 32),
          ],
        },
        n_particles: 6,
        iters: 3,
        confirm_runs: 0,
      },
    });
    const base = summary.baseline!.performance.generate_speed!;
    const told = entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
    expect(told).toHaveLength(18);
    for (const { verdict } of told) {
      if (verdict.kind !== 'scored') continue;
      const { generate_speed: term } = verdict.terms;
      expect(term * verdict.performance.generate_speed!).toBeCloseTo(0.4 * 10 * base, 6);
    }
  });

  test('the results in the layout of a sweep: a directory a combination, a row a run', async () => {
    const { entries } = await simulate({ values: { n_particles: 5, iters: 3, confirm_runs: 2 } });
    const files = vllmSweep(entries);
    // Without what was ended early: those are bounds.
    const measured = entries.filter(
      (entry) =>
        entry.type === 'told' &&
        entry.record.verdict.kind === 'scored' &&
        entry.record.verdict.censored !== true,
    ).length;
    const runs = files.filter(({ path }) => /^SERVE-[\w=.-]+-BENCH-[\w=.-]+\/run=\d+\.json$/.test(path));
    expect(runs).toHaveLength(measured);
    const repeated = files.find(({ path }) => path.endsWith('run=2.json'));
    expect(JSON.parse(repeated!.content)).toMatchObject({
      run_number: 2,
      output_throughput: expect.any(Number) as number,
      mean_ttft_ms: expect.any(Number) as number,
      p99_tpot_ms: expect.any(Number) as number,
      request_throughput: expect.any(Number) as number,
      MAX_NUM_SEQS: expect.any(Number) as number,
    });
    const whole = files.find(({ path }) => path === repeated!.path.replace('run=2', 'summary'));
    expect(JSON.parse(whole!.content)).toHaveLength(3);
    const table = files.find(({ path }) => path === 'summary.csv');
    expect(table!.content.trim().split('\n')).toHaveLength(measured + 1);
  });

  test('another load tool is simulated by the usual load; the statistic that is scored is the one that is named', async () => {
    const short = { n_particles: 4, iters: 1, confirm_runs: 0 };
    const command = { command: 'true', metrics: { generate_speed: { value: 'x', unit: 'tok/s' } } };
    const other = await simulate({ values: { ...short, builtin: undefined, benchmark: 'command', command } });
    expect(other.error).toBeUndefined();
    expect(other.summary.baseline!.performance.generate_speed).toBeGreaterThan(0);
    const builtin = { ...(simulatedStudy['builtin'] as Table), time_to_first_token: 'p99' };
    const { summary } = await simulate({ values: { ...short, builtin } });
    const { time_to_first_token: ttft, percentiles } = summary.baseline!.performance;
    expect(ttft! * 1000).toBeCloseTo((percentiles as { ttft_ms: { p99: number } }).ttft_ms.p99, 6);
  });

  test('in two stages a rate that was found is no rate that was chosen, also after an interruption', async () => {
    const env = (name: string, max: number, value: number) => ({
      ...{ name, config_position: 'env', dtype: 'int', min: 1, max, value },
    });
    const target_field = [env('MAX_NUM_SEQS', 4, 2), env('CONCURRENCY', 64, 16), env('REQUESTRATE', 7, 3)];
    const values = {
      ...{ ...underTwoStages, emulator: { preset: 'demo', target_field }, n_particles: 4, iters: 6 },
      ...{ presets: false, parallel: { service_groups: [{ group_id: 0, nodes: [{ host: 'a' }] }] } },
    };
    const whole = await simulate({ values });
    const recordsOf = ({ entries }: typeof whole) =>
      entries.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
    const told = recordsOf(whole);
    const refined = told.filter(({ refines }) => refines !== undefined);
    expect(refined.length).toBeGreaterThan(0);
    for (const { reused_from: from, params } of refined) {
      for (const value of Object.values(params)) expect(Number.isInteger(value)).toBe(true);
      const source = told.find((one) => one.trial_id === from);
      if (source !== undefined) expect(source.trial_id === 0 || source.refines !== undefined).toBe(true);
    }
    let trials = 0;
    const { directory, summary } = await simulate({
      values,
      until: (event) => event.type === 'trial.finished' && ++trials === 12,
    });
    const resumed = await simulate({ values, output: directory, resume: summary.run_id });
    expect(recordsOf(resumed).map(({ params, reused_from: from }) => [params, from])).toEqual(
      told.map(({ params, reused_from: from }) => [params, from]),
    );
  });

  test('what tables of the original measured is where the swarm begins', async () => {
    const plain = await simulate({ seed: 4, values: { load_probes: 2 } });
    const best = plain.summary.best;
    const directory = mkdtempSync(join(tmpdir(), 'optimizer-simulate-'));
    mkdirSync(join(directory, 'store'));
    copyFileSync(
      join(plain.paths.directory, plain.summary.artifacts['csv']!),
      join(directory, 'store/data_storage_20250101000000.csv'),
    );
    const document = { values: simulatedStudy, origin: {}, files: [] };
    const { space, fitness: slos } = resolveSettings({ document, flags: { simulate: true } }, registry);
    const history = readHistory(join(directory, 'store'), space.fields, slos);
    expect(history.length).toBeGreaterThan(50);
    expect(Math.min(...history.map(({ fitness }) => fitness))).toBeLessThanOrEqual(best!.fitness);
    // Its own moves, not the present configuration and the presets, which both begin with.
    const median = (entries: readonly JournalEntry[]): number => {
      const costs = entries.flatMap((entry) =>
        entry.type === 'told' && entry.record.verdict.kind === 'scored' && entry.record.trial_id > 4
          ? [entry.record.verdict.fitness]
          : [],
      );
      return costs.sort((a, b) => a - b)[Math.floor(costs.length / 2)]!;
    };
    const values = { n_particles: 8, iters: 2, load_probes: 2, confirm_runs: 0 };
    let [warm, cold] = [0, 0];
    for (const seed of [5, 6, 7, 8, 9]) {
      warm += median((await simulate({ seed, values, output: directory, history })).entries);
      cold += median((await simulate({ seed, values })).entries);
    }
    expect(warm).toBeLessThan(cold);
  });

  test("a user's own engine and fields are simulated as well", async () => {
    const field = { name: 'max_num_seqs', config_position: 'a.b', min: 1, max: 64, dtype: 'int', value: 8 };
    const load = { name: 'CONCURRENCY', config_position: 'env', min: 1, max: 64, dtype: 'int', value: 8 };
    const { summary, paths } = await simulate({
      values: {
        engine: 'script',
        emulator: undefined,
        script: { target_field: [field, load] },
        simulate: { preset: 'small-16' },
        n_particles: 4,
        iters: 5,
      },
    });
    expect(summary.engine).toBe('script');
    expect(summary.best?.performance.generate_speed).toBeGreaterThan(0);
    expect(existsSync(join(paths.best, 'launch.sh'))).toBe(true);
  });

  test('two groups that would answer at the same place are refused before anything is touched', async () => {
    const group = (group_id: number) => ({ group_id, nodes: [{ host: 'a' }] });
    const parallel = { enabled: true, service_groups: [group(0), group(1)] };
    const input = {
      document: {
        values: { ...simulatedStudy, parallel, output: mkdtempSync(join(tmpdir(), 'optimizer-')) },
        origin: {},
        files: [],
      },
      flags: { simulate: true },
    };
    const { error, summary } = await runStudy(
      { settings: resolveSettings(input, registry), input, events: new EventBus() },
      never,
    );
    expect(String(error)).toMatch(/Groups 0 and 1 would both answer at http:\/\/a:8000\/health/);
    expect(summary.exit_code).toBe(2);
  });
});
describe('unequal groups', () => {
  type Entry<T extends JournalEntry['type']> = Extract<JournalEntry, { type: T }>;
  const ofType = <T extends JournalEntry['type']>(entries: readonly JournalEntry[], type: T): Entry<T>[] =>
    entries.filter((entry): entry is Entry<T> => entry.type === type);
  const run = async (groups: string, group_speeds = [1, 1, 0.5, 1], more: Table = {}) => {
    const simulated = await simulate({
      seed: 2,
      values: {
        iters: 3,
        simulate: { group_speeds, noise: 0 },
        parallel: { groups },
        abort_hopeless: false,
        ...more,
      },
    });
    const notes = simulated.seen.flatMap((event) => (event.type === 'note' ? [event.text] : []));
    const on = (id: number) =>
      ofType(simulated.entries, 'told')
        .map(({ record }) => record)
        .filter(({ group_id, reused_from }) => group_id === id && reused_from === null);
    return { ...simulated, notes, on, measured: ofType(simulated.entries, 'group-measured') };
  };

  test('the present configuration is measured on every group before anything else is', async () => {
    const { measured, entries, notes } = await run('normalize', [1, 1, 1, 1]);
    expect(measured.map(({ group_id }) => group_id).sort()).toEqual([0, 1, 2, 3]);
    expect(entries.findIndex(({ type }) => type === 'told')).toBeGreaterThan(
      entries.findLastIndex(({ type }) => type === 'group-measured'),
    );
    expect(new Set(measured.map(({ performance }) => performance?.generate_speed)).size).toBe(1);
    expect(notes.join('\n')).not.toMatch(/× the speed/);
  });

  test('normalize: a slow group is named, and its numbers are those that an equal one would have', async () => {
    const { notes, on, summary, measured } = await run('normalize');
    expect(notes.filter((text) => text.includes('× the speed'))).toEqual([
      expect.stringMatching(
        /^group 2 serves the present configuration at 0\.\d\d × the speed of group \d; its measurements are scaled by that$/,
      ),
    ]);
    const slow = on(2);
    expect(slow.length).toBeGreaterThan(3);
    const equal = await run('normalize', [1, 1, 1, 1]);
    const speeds = new Map(
      ofType(equal.entries, 'told').map(({ record: { params, verdict } }) => [
        JSON.stringify(params),
        verdict.kind === 'scored' ? verdict.performance.generate_speed : null,
      ]),
    );
    for (const { verdict, params } of slow) {
      if (verdict.kind !== 'scored') continue;
      expect(verdict.flags.join()).toMatch(/normalised: group 2/);
      expect(verdict.raw_performance?.generate_speed).toBeLessThan(verdict.performance.generate_speed!);
      const same = speeds.get(JSON.stringify(params));
      if (same) expect(verdict.performance.generate_speed! / same).toBeGreaterThan(0.6);
    }
    expect(summary.starts.made).toBeGreaterThanOrEqual(measured.length);
  });

  test('exclude: a group that differs measures nothing; strict: only where no other one can', async () => {
    for (const policy of ['exclude', 'strict']) {
      const { on, notes, summary } = await run(policy);
      expect(on(2)).toEqual([]);
      expect(notes.join('\n')).toMatch(
        policy === 'exclude' ? /group 2 .*; it is not used/ : /group 2 .*only while no other/,
      );
      expect(summary.status).toBe('completed');
    }
  });

  test('the one that is like most of the others counts, not the first or the fastest', async () => {
    const { notes } = await run('exclude', [2, 1, 1, 1]);
    expect(notes.join('\n')).toMatch(
      /group 0 serves the present configuration at [12]\.\d+ × .*; it is not used/,
    );
  });

  test('nobody waits for a group that takes ten times as long', async () => {
    const more = { parallel: { groups: 'normalize', evaluation_timeout: 100_000 } };
    const { entries, measured, notes } = await run('normalize', [1, 1, 0.1, 1], more);
    const late = entries.findIndex((entry) => entry.type === 'group-measured' && entry.group_id === 2);
    const told = entries.slice(0, late).filter(({ type }) => type === 'told');
    expect(measured.map(({ group_id }) => group_id)).toContain(2);
    expect(told.length).toBeGreaterThan(3);
    expect(notes.join('\n')).toMatch(/group 2 serves the present configuration at 0\.\d+ × /);
  });

  test('trust: nothing is measured for it', async () => {
    const { measured, on } = await run('trust');
    expect(measured).toEqual([]);
    expect(on(2).length).toBeGreaterThan(0);
  });

  test('a run that is resumed compares with what it has measured already', async () => {
    const stopped = await simulate({
      seed: 2,
      values: { iters: 3, simulate: { group_speeds: [1, 1, 0.5, 1], noise: 0 } },
      until: (event) => event.type === 'trial.finished' && event.told === 6,
    });
    const resumed = await simulate({
      seed: 2,
      output: stopped.directory,
      resume: stopped.summary.run_id,
      values: { iters: 3, simulate: { group_speeds: [1, 1, 0.5, 1], noise: 0 } },
    });
    expect(ofType(resumed.entries, 'group-measured')).toHaveLength(4);
    expect(ofType(resumed.entries, 'groups-compared')).toHaveLength(1);
    expect(resumed.summary.status).toBe('completed');
  });
});
