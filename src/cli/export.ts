import { join } from 'node:path';
import type { Dtype, Field, ParamValue } from '../core/space/field.ts';
import type { TrialRecord } from '../parallel/records.ts';
import { optunaJournal } from '../report/optuna.ts';
import { vllmSweep } from '../report/vllm-sweep.ts';
import { csvHeader, csvRow, ourColumns, rowOf } from '../runs/csv.ts';
import { studyNamed, type SavedStudy } from '../saved-run.ts';
import type { exportFormats } from './options.ts';
import { reading, writeWhereTold, type RunsOptions } from './runs.ts';

export interface ExportOptions extends RunsOptions {
  readonly format: (typeof exportFormats)[number];
  /** File, or directory of vllm-sweep. */
  readonly to?: string;
}

function dtypeOf(values: readonly ParamValue[]): Dtype {
  if (values.every((value) => typeof value === 'boolean')) return 'bool';
  if (!values.every((value) => typeof value === 'number')) return 'str';
  return values.every((value) => Number.isInteger(value)) ? 'int' : 'float';
}

/** As far as values tell of them: the journal is enough to write the table. */
function fieldsOf(told: readonly TrialRecord[]): Field[] {
  const names = [...new Set(told.flatMap(({ params }) => Object.keys(params)))];
  return names.map((name) => {
    const values = told.flatMap(({ params }) => params[name] ?? []);
    const dtype = dtypeOf(values);
    return {
      name,
      dtype,
      config_position: 'env',
      min: 0,
      max: 0,
      value: values[0] ?? 0,
      dtype_param: null,
      constant: null,
    };
  });
}

/** The original's table. */
function csvText({ told }: SavedStudy): string {
  const fields = fieldsOf(told);
  const names = fields.map(({ name }) => name);
  const rows = told.map((record) => csvRow(rowOf(record, fields, null), names));
  return csvHeader(names, ourColumns) + rows.join('');
}

/** A run in the format of another tool: on stdout, or where `--to` says. */
export async function exportRun(named: string | undefined, options: ExportOptions): Promise<number> {
  return reading(options, async () => {
    const study = await studyNamed(options.output ?? 'result', named);
    if (options.format === 'vllm-sweep') {
      const directory = options.to ?? join(study.directory, 'vllm-sweep');
      for (const { path, content } of vllmSweep(study.entries)) {
        writeWhereTold(join(directory, path), content);
      }
      process.stdout.write(`${directory}\n`);
      return 0;
    }
    const texts = {
      optuna: () => optunaJournal(study.start, study.told),
      csv: () => csvText(study),
      json: () =>
        `${JSON.stringify({ schema: 1, summary: { ...study.summary, status: study.status }, trials: study.told }, null, 2)}\n`,
    };
    const text = texts[options.format]();
    if (options.to === undefined) process.stdout.write(text);
    else writeWhereTold(options.to, text);
    return 0;
  });
}
