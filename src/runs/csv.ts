import { stringify } from 'csv-stringify/sync';
import type { PerformanceIndex } from '../core/fitness/fitness.ts';
import type { Field } from '../core/space/field.ts';
import { floatText, valueText } from '../core/space/format.ts';
import type { TrialRecord } from '../parallel/records.ts';

/** The original's table: its columns in its order, CRLF, floats as it writes them; ours come after. */

const metrics = [
  'generate_speed',
  'time_to_first_token',
  'time_per_output_token',
  'success_rate',
  'throughput',
] as const satisfies readonly (keyof PerformanceIndex)[];

export interface CsvRow {
  readonly performance: PerformanceIndex | undefined;
  readonly params: Readonly<Record<string, string>>;
  readonly error: string | null;
  readonly backup: string | null;
  /** Seconds. */
  readonly duration: number;
  readonly real_evaluation: boolean;
  readonly fitness: number;
  readonly num_prompts: number | null;
  readonly more: readonly string[];
}

/** A text that a spreadsheet would take for a formula starts with an apostrophe. */
function textCell(text: string | null): string {
  if (text === null) return '';
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}

const lines = (cells: readonly string[]): string =>
  stringify([[...cells]], { record_delimiter: '\r\n', quoted_match: /[\r\n]/ });

export function csvHeader(fields: readonly string[], more: readonly string[]): string {
  const rest = ['error', 'backup', 'duration', 'real_evaluation', 'fitness', 'num_prompts'];
  return lines([...metrics, ...fields, ...rest, ...more].map(textCell));
}

export function csvRow(row: CsvRow, fields: readonly string[]): string {
  const measured = metrics.map((name) => {
    const value = row.performance?.[name];
    return value === null || value === undefined ? '' : floatText(value);
  });
  return lines([
    ...measured,
    ...fields.map((name) => textCellOfValue(row.params[name])),
    textCell(row.error),
    textCell(row.backup),
    floatText(row.duration),
    row.real_evaluation ? 'True' : 'False',
    floatText(row.fitness),
    row.num_prompts === null ? '' : String(row.num_prompts),
    ...row.more,
  ]);
}

/** Numbers keep their sign; only texts can be formulas. */
function textCellOfValue(text: string | undefined): string {
  if (text === undefined) return '';
  return Number.isNaN(Number(text)) ? textCell(text) : text;
}

export const ourColumns = ['trial_id', 'group_id'] as const;

export function rowOf(record: TrialRecord, fields: readonly Field[], backup: string | null): CsvRow {
  const { verdict } = record;
  const scored = verdict.kind === 'scored';
  return {
    // Of what was ended early there are bounds alone: its cost is kept, its metrics are no measurement.
    performance: scored && verdict.censored !== true ? verdict.performance : undefined,
    params: Object.fromEntries(
      fields.flatMap((field) => {
        const value = record.params[field.name];
        return value === undefined ? [] : [[field.name, valueText(value, field)]];
      }),
    ),
    error: scored ? null : verdict.error.message,
    backup,
    duration: record.duration_s,
    real_evaluation: record.reused_from === null,
    fitness: scored ? verdict.fitness : Infinity,
    num_prompts: record.num_prompts,
    more: [String(record.trial_id), record.group_id === null ? '' : String(record.group_id)],
  };
}
