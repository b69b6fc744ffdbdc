import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigurationError } from '../base/errors.ts';
import type { TrialRecord } from '../parallel/records.ts';
import { quote } from '../remote/quote.ts';
import type { ScoredStatistics } from '../report/comparison.ts';
import { answerText, valueCell } from '../report/text.ts';
import { processLine } from '../runs/launch-script.ts';
import { planOf, scoredStatistics, writeReport } from '../run-report.ts';
import { studyNamed, type SavedStudy } from '../saved-run.ts';
import { printJson, reading, type RunsOptions } from './runs.ts';
import { columns, oneLine } from './table.ts';

export interface ShowOptions extends RunsOptions {
  readonly trial?: number;
}

/** A file of the trial; undefined where an older run or somebody cleared it away. */
function fileOf({ directory }: SavedStudy, trial: number, name: string): string | undefined {
  try {
    return readFileSync(join(directory, 'trials', String(trial), name), 'utf8');
  } catch {
    return undefined;
  }
}

function commands(study: SavedStudy, { trial_id }: TrialRecord): string[] {
  const { stages = [] } = planOf(study.directory, trial_id) ?? {};
  return stages.flatMap(({ processes }) =>
    processes.map((one) => `  ${one.role} on node ${one.rank}: ${processLine(one, quote)}`),
  );
}

function metrics({ verdict }: TrialRecord): string[] {
  if (verdict.kind !== 'scored')
    return [`  ${oneLine(verdict.error.message)}`, `  → ${verdict.error.remedy}`];
  const { performance: p, percentiles } = verdict;
  const number = (value: number | null, factor = 1): string =>
    value === null ? '–' : String(Number((value * factor).toPrecision(5)));
  // Of what was ended early there are no percentiles.
  const latencies = Object.entries(verdict.censored === true ? {} : percentiles).flatMap(
    ([name, statistics = {}]) => [
      [name, ...Object.entries(statistics).map(([which, value]) => `${which} ${number(value ?? null)}`)],
    ],
  );
  const bound = verdict.censored === true ? ['  ended early: these are bounds, not measurements'] : [];
  return [
    ...bound,
    `  ${number(p.generate_speed)} tok/s, ${number(p.throughput)} req/s, TTFT ${number(p.time_to_first_token, 1000)} ms, TPOT ${number(p.time_per_output_token, 1000)} ms, success ${number(p.success_rate, 100)} %`,
    `  cost ${number(verdict.fitness)}; ${verdict.violations.length === 0 ? 'within the SLOs' : `misses ${verdict.violations.map(({ slo }) => slo).join(', ')}`}`,
    ...columns(latencies)
      .trimEnd()
      .split('\n')
      .filter(Boolean)
      .map((line) => `  ${line}`),
  ];
}

function trialText(study: SavedStudy, record: TrialRecord): string {
  const { trial_id, group_id, params, verdict, failed_attempts, curve = [] } = record;
  const section = (title: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : [`${title}:`, ...lines];
  const files = join(study.directory, 'trials', String(trial_id));
  const log = fileOf(study, trial_id, 'service.log')?.trimEnd().split('\n').slice(-20) ?? [];
  return [
    `trial ${trial_id} of run ${study.runId}${group_id === null ? '' : `, on group ${group_id}`}: ${verdict.kind}`,
    ...Object.entries(params).map(([name, value]) => `  ${name} = ${valueCell(value)}`),
    ...section('measured', metrics(record)),
    ...section(
      'loads',
      curve.map(({ load, performance, error, censored }) => {
        const at = Object.entries(load).map(([name, value]) => `${name} ${valueCell(value)}`);
        const speed = performance?.generate_speed ?? null;
        const said = error ?? (speed === null ? '–' : `${speed.toFixed(1)} tok/s`);
        return `  ${at.join(', ')}: ${censored === true ? 'ended early' : oneLine(said)}`;
      }),
    ),
    ...section(
      'attempts that failed',
      failed_attempts.map(({ group_id: group, error }) => `  group ${group}: ${oneLine(error.message)}`),
    ),
    `time: start ${record.start_s.toFixed(1)} s, benchmarks ${record.benchmark_s.toFixed(1)} s, in all ${record.duration_s.toFixed(1)} s`,
    ...section('started with', commands(study, record)),
    ...section(
      'last lines of the service',
      log.map((line) => `  ${oneLine(line)}`),
    ),
    // A simulation keeps none.
    ...(existsSync(files) ? [`files: ${quote(files)}`] : []),
    '',
  ].join('\n');
}

function trialOf({ told, runId }: SavedStudy, wanted: number): TrialRecord {
  const record = told.find(({ trial_id }) => trial_id === wanted);
  if (record !== undefined) return record;
  const last = Math.max(-1, ...told.map(({ trial_id }) => trial_id));
  throw new ConfigurationError(
    `Run ${runId} has no result of a trial ${wanted}`,
    {},
    { remedy: last < 0 ? 'Nothing was measured yet.' : `Its trials are 0 to ${last}.` },
  );
}

/** The answer of a run, or all that is known of one of its trials. */
export async function show(named: string | undefined, options: ShowOptions): Promise<number> {
  return reading(options, async () => {
    const study = await studyNamed(options.output ?? 'result', named);
    const { directory, summary, start, status } = study;
    if (options.trial !== undefined) {
      const record = trialOf(study, options.trial);
      if (options.json === true) printJson({ run_id: study.runId, trial: record });
      else process.stdout.write(trialText(study, record));
      return 0;
    }
    if (options.json === true) {
      printJson({ ...summary, status });
      return 0;
    }
    const scored: ScoredStatistics = scoredStatistics(directory, start);
    const file = (name: string): string => quote(join(directory, name));
    process.stdout.write(`run ${study.runId}: ${status}\n`);
    process.stdout.write(answerText(summary, start.slos, scored, file));
    return 0;
  });
}

/** Writes the report of a run anew, from its journal. */
export async function report(named: string | undefined, options: RunsOptions): Promise<number> {
  return reading(options, async () => {
    const { directory, entries, runId } = await studyNamed(options.output ?? 'result', named);
    const written = await writeReport(directory, entries);
    const files = Object.fromEntries(
      Object.entries(written).map(([name, file]) => [name, join(directory, file)]),
    );
    if (options.json === true) printJson({ run_id: runId, files });
    else
      process.stdout.write(
        Object.values(files)
          .map((file) => `${file}\n`)
          .join(''),
      );
    return 0;
  });
}
