import { parse } from 'csv-parse/sync';
import type { Percentiles } from '../../core/fitness/fitness.ts';
import type { BenchmarkResult, LatencyName } from '../../parallel/ports.ts';
import type { Reported } from '../statistics.ts';
import { documentOf, parseFailure } from '../tool.ts';

interface ResultFile {
  readonly path: string;
  readonly text: string;
}

/** `outputs/default/<time>/performances/<model>/<dataset>.csv`; the documentation says `performance`. */
export const isResult = (path: string): boolean =>
  /(^|\/)performances?\/[^/]+\/[^/]+\.(csv|json)$/.test(path) && !/_details|_plot|db_data/.test(path);

const units: Readonly<Record<string, number>> = { us: 1e-6, ms: 1e-3, s: 1 };

/** `12.3 ms` → 0.0123; a number without a unit of time stays as it is. */
export function measured(cell: unknown): number | undefined {
  const [, digits, unit = ''] = /^\s*([-+\d.eE]+)\s*(\S*)/.exec(String(cell)) ?? [];
  const value = Number(digits);
  return digits === undefined || !Number.isFinite(value) ? undefined : value * (units[unit] ?? 1);
}

type Row = Readonly<Record<string, string>>;

function rowsOf(file: ResultFile): Row[] {
  try {
    return parse<Row>(file.text, {
      columns: (header: string[]) => header.map((name) => name.trim().toLowerCase()),
      skip_empty_lines: true,
      trim: true,
    });
  } catch (error) {
    return parseFailure('ais_bench', file, (error as Error).message);
  }
}

const metrics: readonly [string, LatencyName][] = [
  ['TTFT', 'ttft_ms'],
  ['TPOT', 'tpot_ms'],
  ['ITL', 'itl_ms'],
  ['E2EL', 'e2el_ms'],
];
const columns: readonly [keyof Percentiles, string][] = [
  ['mean', 'average'],
  ['median', 'median'],
  ['p90', 'p90'],
  ['p95', 'p95'],
  ['p99', 'p99'],
];

function rowOf(rows: readonly Row[], metric: string): Row | undefined {
  const named = rows.filter((row) => row['performance parameters'] === metric);
  return named.find((row) => row['stage'] === 'total') ?? named[0];
}

function reportedOf(rows: readonly Row[]): Reported {
  return Object.fromEntries(
    metrics.flatMap(([metric, latency]) => {
      const row = rowOf(rows, metric);
      if (row === undefined) return [];
      const statistics = columns.flatMap(([name, column]) => {
        const seconds = measured(row[column]);
        return seconds === undefined ? [] : [[name, seconds * 1000]];
      });
      return [[latency, Object.fromEntries(statistics)]];
    }),
  );
}

/** What is scored of a latency: the original's words. */
export interface Choice {
  readonly metric: string;
  readonly algorithm: string;
}

function choose(rows: readonly Row[], { metric, algorithm }: Choice, file: ResultFile): number {
  const row = rowOf(rows, metric);
  if (row === undefined) return parseFailure('ais_bench', file, `it has no row ${metric}`);
  const value = measured(row[algorithm.toLowerCase()]);
  if (value !== undefined) return value;
  const known = Object.keys(row).filter((name) => !['performance parameters', 'stage'].includes(name));
  return parseFailure(
    'ais_bench',
    file,
    `${metric} has no column ${algorithm}; there are ${known.join(', ')}`,
  );
}

type Common = Readonly<Record<string, Readonly<Record<string, unknown>> | null | undefined>>;

export interface AisBenchResult extends Omit<BenchmarkResult, 'raw'> {
  /** What the next trials should be tried with at most: three times what was reached. */
  readonly bestConcurrency: number | undefined;
}

export interface AisBenchRules {
  readonly ttft: Choice;
  readonly tpot: Choice;
  readonly concurrencyCoefficient: number;
  readonly concurrencyThreshold: number;
}

function bestConcurrency(common: Common, rules: AisBenchRules): number | undefined {
  const reached = measured(common['Concurrency']?.['total']);
  const most = measured(common['Max Concurrency']?.['total']);
  if (reached === undefined) return undefined;
  const c = rules.concurrencyCoefficient * reached;
  if (c < rules.concurrencyThreshold) return rules.concurrencyThreshold;
  return Math.trunc(Math.min(c, most ?? c));
}

/** The numbers of the whole run hold only where no request took a large part of it. */
function steadyFlags(rows: readonly Row[], common: Common): string[] {
  const longest = measured(rowOf(rows, 'E2EL')?.['max']);
  const duration = measured(common['Benchmark Duration']?.['total']);
  const steady = longest === undefined || duration === undefined || longest < duration / 3;
  return steady ? [] : ['no steady stage: the longest request took more than a third of the run'];
}

/** @throws BenchmarkParseError naming the file */
export function parseAisBench(files: readonly ResultFile[], rules: AisBenchRules): AisBenchResult {
  const nowhere = { path: 'performances', text: '' };
  const table = files.filter(({ path }) => path.endsWith('.csv')).at(-1);
  const whole = files.filter(({ path }) => path.endsWith('.json')).at(-1);
  if (table === undefined || whole === undefined)
    return parseFailure('ais_bench', nowhere, 'no .csv and .json of a performance run were written');
  const rows = rowsOf(table);
  const common = documentOf('ais_bench', whole) as Common;
  const total = (...keys: string[]): number => {
    for (const key of keys) {
      const value = measured(common[key]?.['total']);
      if (value !== undefined) return value;
    }
    return parseFailure('ais_bench', whole, `it has no ${keys.join(' or ')}`);
  };
  const requests = total('Total Requests');
  return {
    performance: {
      generate_speed: total('Output Token Throughput'),
      time_to_first_token: choose(rows, rules.ttft, table),
      time_per_output_token: choose(rows, rules.tpot, table),
      success_rate: requests > 0 ? total('Success Requests') / requests : null,
      throughput: total('Request Throughput'),
    },
    percentiles: reportedOf(rows),
    goodput: null,
    numPrompts: requests,
    flags: steadyFlags(rows, common),
    bestConcurrency: bestConcurrency(common, rules),
  };
}
