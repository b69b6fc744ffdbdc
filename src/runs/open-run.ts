import { randomBytes } from 'node:crypto';
import { accessSync, constants, rmSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { ConfigurationError } from '../base/errors.ts';
import { redactSecrets } from '../base/redact.ts';
import type { Settings, SettingsInput } from '../config/settings.ts';
import { version } from '../base/version.ts';
import type { Patience } from './journal.ts';
import { makeDirectory } from './directory.ts';
import { readSavedRun, type SavedRun } from './catalog.ts';
import { FileRunStore, runPaths, type RunPaths } from './run-store.ts';

/** `YYYYmmddHHMMSS` in local time, as the original names its files; a simulation's is the same everywhere. */
function stamp(date: Date, durable: boolean): string {
  if (!durable) return date.toISOString().replace(/\D/g, '').slice(0, 14);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  return `${day}${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
}

/** The input as files may show it. */
export function redacted(input: SettingsInput): SettingsInput {
  return JSON.parse(
    JSON.stringify(input, (key, value: unknown) => {
      const number = typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
      return redactSecrets(key, typeof value === 'bigint' ? Number(value) : number);
    }),
  ) as SettingsInput;
}

/** @throws ConfigurationError where results cannot be kept */
function prepareOutput(output: string): void {
  try {
    makeDirectory(resolve(output), 0o750);
    accessSync(output, constants.W_OK | constants.X_OK);
    if (!statSync(output).isDirectory()) throw new Error('it is a file');
  } catch (cause) {
    throw new ConfigurationError(
      `Results cannot be kept in ${output}: ${(cause as Error).message}`,
      {},
      {
        cause,
        remedy: 'Give another directory with --output, or mend its owner, permissions or free space.',
      },
    );
  }
}

/** A new run in the result directory, or an earlier one to go on with. */
export async function openRun(
  { settings, input }: { readonly settings: Settings; readonly input: SettingsInput },
  resume: string | undefined,
  now: Date,
  patience: Patience,
): Promise<FileRunStore> {
  if (resume === undefined) prepareOutput(settings.output);
  const durable = settings.simulation === undefined;
  const storeOptions = { fields: settings.space.fields, backups: settings.backup, durable, patience };
  if (resume !== undefined) {
    const saved = readSavedRun(settings.output, resume);
    const paths = runPaths(settings.output, resume, join(settings.output, 'runs', resume, saved.csv));
    return FileRunStore.resume(resume, paths, storeOptions, now);
  }
  const runId = durable ? `${stamp(now, durable)}-${randomBytes(3).toString('hex')}` : `sim-${settings.seed}`;
  const paths = runPaths(
    settings.output,
    runId,
    join(settings.storeDir, `data_storage_${stamp(now, durable)}.csv`),
  );
  if (!durable) discard(paths); // the same simulation again replaces itself
  const csv = relative(paths.directory, paths.csv);
  const saved: SavedRun = { schema: 1, run_id: runId, version, csv, input: redacted(input) };
  // Before the journal, which makes it a run: whatever happens from then on, it can be resumed.
  makeDirectory(paths.directory, 0o700);
  const text = `${JSON.stringify(saved, null, 2)}\n`;
  await writeFileAtomic(paths.settings, text, { mode: 0o600, fsync: durable });
  return FileRunStore.create(runId, paths, storeOptions, now);
}

/** Nothing came to be: a run that never reached a node leaves no directory behind. */
export function discard(paths: RunPaths): void {
  rmSync(paths.directory, { recursive: true, force: true });
  rmSync(paths.csv, { force: true });
}
