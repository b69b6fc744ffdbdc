import { asOptimizerError } from '../base/errors.ts';
import { errorRecord } from '../parallel/error-record.ts';

export const exitCodes = {
  feasible: 0,
  infeasible: 1,
  usage: 2,
  infrastructure: 3,
  interrupted: 130,
} as const;

/** What went wrong and what to do, without a stack trace; defects of ours keep theirs for the report. */
export function errorText(error: unknown): string {
  const known = asOptimizerError(error);
  const cause =
    known.blame === 'program' && known.cause instanceof Error ? `\n${known.cause.stack ?? ''}` : '';
  return `error: ${known.message}\n  → ${known.remedy}${cause}\n  see ${known.help}\n`;
}

/** The one JSON document where no run came to exist. */
export function failureDocument(error: unknown, exitCode: number): string {
  const record = errorRecord(asOptimizerError(error));
  return `${JSON.stringify({ schema: 1, status: 'failed', exit_code: exitCode, error: record }, null, 2)}\n`;
}

export function printFailure(error: unknown, exitCode: number, json: boolean): number {
  process.stderr.write(errorText(error));
  if (json) process.stdout.write(failureDocument(error, exitCode));
  return exitCode;
}
