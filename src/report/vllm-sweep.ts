import { createHash } from 'node:crypto';
import { stringify } from 'csv-stringify/sync';
import type { ServingParams } from '../core/space/field.ts';
import { paramsKey } from '../core/space/space.ts';
import { isScored, type JournalEntry, type ScoredRecord } from '../parallel/records.ts';

/** A run in the layout of `vllm bench sweep`, so that its plots work on it. */

export interface ExportedFile {
  /** Below the directory of the export. */
  readonly path: string;
  readonly content: string;
}

const loadNames = /^(CONCURRENCY|MAXCONCURRENCY|REQUESTRATE)$/;

function partOf(params: ServingParams, load: boolean): Record<string, unknown> {
  return Object.fromEntries(Object.entries(params).filter(([name]) => loadNames.test(name) === load));
}

/** `max_num_seqs=64-block_size=16`, as it names its directories; safe for a file system. */
function nameOf(params: Record<string, unknown>): string {
  const words = Object.entries(params).map(([name, value]) => `${name.toLowerCase()}=${String(value)}`);
  return words.join('-').replace(/[^\w=.-]/g, '_');
}

/** Cut where a file system would refuse it, without two combinations becoming one. */
function directoryOf(params: ServingParams): string {
  const name = `SERVE-${nameOf(partOf(params, false))}-BENCH-${nameOf(partOf(params, true))}`;
  if (name.length <= 200) return name;
  const digest = createHash('sha256').update(paramsKey(params)).digest('hex').slice(0, 12);
  return `${name.slice(0, 187)}-${digest}`;
}

function documentOf(record: ScoredRecord, run: number): Record<string, unknown> {
  const { performance, percentiles } = record.verdict;
  const flat = Object.entries(percentiles).flatMap(([latency, summary = {}]) =>
    Object.entries(summary).map(([statistic, value]) => [`${statistic}_${latency}`, value] as const),
  );
  const prompts = record.num_prompts ?? 0;
  const completed = Math.round(prompts * (performance.success_rate ?? 0));
  return {
    date: record.finished_at,
    num_prompts: prompts,
    request_rate: record.params['REQUESTRATE'] ?? 'inf',
    max_concurrency: record.params['CONCURRENCY'] ?? record.params['MAXCONCURRENCY'] ?? null,
    completed,
    failed: prompts - completed,
    request_throughput: performance.throughput,
    request_goodput: record.verdict.goodput ?? null,
    output_throughput: performance.generate_speed,
    ...Object.fromEntries(flat),
    ...record.params,
    run_number: run,
    trial_id: record.trial_id,
  };
}

/** `SERVE-…-BENCH-…/run=N.json` with its `summary.json`, and one `summary.csv` over all. */
export function vllmSweep(entries: readonly JournalEntry[]): ExportedFile[] {
  const measured = entries
    .flatMap((entry) => (entry.type === 'told' ? [entry.record] : []))
    .filter((record) => record.reused_from === null)
    .filter(isScored)
    // What was ended early is a bound, and no measurement.
    .filter(({ verdict }) => verdict.censored !== true);
  const byCombination = new Map<string, ScoredRecord[]>();
  for (const record of measured) {
    const name = directoryOf(record.params);
    byCombination.set(name, [...(byCombination.get(name) ?? []), record]);
  }
  const files: ExportedFile[] = [];
  const rows: Record<string, unknown>[] = [];
  for (const [name, records] of byCombination) {
    const runs = records.map((record, run) => documentOf(record, run));
    rows.push(...runs);
    runs.forEach((run, number) =>
      files.push({ path: `${name}/run=${number}.json`, content: `${JSON.stringify(run, null, 4)}\n` }),
    );
    files.push({ path: `${name}/summary.json`, content: `${JSON.stringify(runs, null, 4)}\n` });
  }
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  files.push({
    path: 'summary.csv',
    content: stringify(rows, { header: true, columns, escape_formulas: true }),
  });
  return files;
}
