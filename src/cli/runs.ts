import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ConfigurationError } from '../base/errors.ts';
import { formatDuration, ms } from '../base/units.ts';
import { quote } from '../remote/quote.ts';
import { runNamed, whereRunsAre } from '../runs/catalog.ts';
import { repairJournal, type Repair } from '../runs/repair.ts';
import { allStudies, type SavedStudy, type UnreadableRun } from '../saved-run.ts';
import { exitCodes, printFailure } from './outcome.ts';
import { columns, oneLine } from './table.ts';

export interface RunsOptions {
  readonly output?: string;
  readonly json?: boolean;
}

export interface RepairOptions extends RunsOptions {
  readonly dryRun?: boolean;
}

/** Does what reads runs and says why where it cannot. @returns the exit code */
export async function reading(
  options: { readonly json?: boolean | undefined },
  work: () => Promise<number>,
): Promise<number> {
  try {
    return await work();
  } catch (error) {
    const usage = error instanceof ConfigurationError;
    return printFailure(error, usage ? exitCodes.usage : exitCodes.infrastructure, options.json === true);
  }
}

/** Writes where the user said. @throws ConfigurationError where that cannot be */
export function writeWhereTold(path: string, content: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  } catch (cause) {
    throw new ConfigurationError(
      `Cannot write ${path}: ${(cause as Error).message}`,
      {},
      { cause, remedy: 'Give another path with --to, or mend its owner, permissions or free space.' },
    );
  }
}

export const printJson = (document: object): void => {
  process.stdout.write(`${JSON.stringify({ schema: 1, ...document }, null, 2)}\n`);
};

const speedText = (speed: number | null | undefined): string =>
  speed === null || speed === undefined ? '–' : `${speed.toFixed(1)} tok/s`;

function lineOf(run: SavedStudy | UnreadableRun): string[] {
  if ('why' in run) return [run.runId, 'damaged', '', '', '', '', oneLine(run.why)];
  const { runId, status, summary } = run;
  const ratio = summary.improvement.generate_speed_ratio;
  const count = Object.values({ ...summary.evaluations, retried: 0, failed_over: 0 });
  return [
    runId,
    status,
    summary.engine,
    String(count.reduce((sum, one) => sum + one, 0)),
    speedText(summary.best?.performance.generate_speed),
    // Against what misses its SLOs there is no gain.
    ratio === null || summary.baseline?.feasible === false ? '' : `${ratio.toFixed(2)} ×`,
    formatDuration(ms(summary.duration_s * 1000)),
  ];
}

function documentOf(run: SavedStudy | UnreadableRun): object {
  if ('why' in run) return { run_id: run.runId, status: 'damaged', error: run.why };
  const { runId: run_id, status, directory, summary } = run;
  const { engine, benchmark, started_at, duration_s, evaluations, improvement, best } = summary;
  return {
    ...{ run_id, status, directory, engine, benchmark, started_at, duration_s, evaluations, improvement },
    best: best && { trial_id: best.trial_id, params: best.params, performance: best.performance },
  };
}

/** The runs of a result directory, the newest first. */
export async function list(options: RunsOptions): Promise<number> {
  const { output = 'result', json } = options;
  return reading(options, async () => {
    const runs = await allStudies(output);
    if (json === true) printJson({ runs: runs.map(documentOf) });
    else if (runs.length === 0)
      process.stdout.write(`there are no runs in ${output}. ${whereRunsAre(output)}
`);
    else {
      const head = ['run', 'status', 'engine', 'trials', 'best', 'gain', 'time'];
      process.stdout.write(columns([head, ...runs.map(lineOf)], [3, 4, 5, 6]));
    }
    return 0;
  });
}

function told(repair: Repair, runId: string, output: string): string {
  const { journal, damaged, tornBytes, kept, recovered, original } = repair;
  const torn = tornBytes === 0 ? [] : [`its last line was torn (${tornBytes} bytes): resume leaves it out`];
  if (damaged.length === 0) return [`${journal}: nothing is damaged`, ...torn, ''].join('\n');
  const verb = original === undefined ? 'would be' : 'are';
  return [
    ...damaged.map(({ line, why }) => `${journal}:${line}: ${why}`),
    ...torn,
    `${kept} entries before the damage ${verb} kept, and ${recovered} measurements behind it`,
    ...(original === undefined ? [] : [`the damaged journal is kept as ${original}`]),
    ...(original === undefined ? [] : [`go on with: optimizer resume ${runId} --output ${quote(output)}`]),
    '',
  ].join('\n');
}

/** Mends the journal of a run, the newest one unless it is named. @returns the exit code */
export async function repair(named: string | undefined, options: RepairOptions): Promise<number> {
  const { output = 'result', dryRun = false, json = false } = options;
  return reading(options, async () => {
    const runId = runNamed(output, named);
    const done = await repairJournal(join(output, 'runs', runId), dryRun, new Date());
    if (json) printJson({ run_id: runId, ...done });
    else process.stdout.write(told(done, runId, output));
    return 0;
  });
}
