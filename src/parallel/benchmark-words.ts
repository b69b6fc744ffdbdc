import { BenchmarkExecutionError } from '../base/errors.ts';
import { causeIn } from '../core/resilience/start-failure.ts';
import type { LogPattern } from './ports.ts';

/** A failure of the load tool, with the blame that the user's patterns give to its words. */
export function blamedByWords(error: unknown, patterns: readonly LogPattern[]): unknown {
  if (!(error instanceof BenchmarkExecutionError)) return error;
  const known = causeIn([error.message.split('\n')], patterns);
  if (known === undefined) return error;
  const { benchmark_type: tool, reason, exit_code: code } = error.details;
  return new BenchmarkExecutionError(String(tool), String(reason), code as number | undefined, {
    cause: error,
    blame: known.blame,
    remedy: known.remedy,
  });
}
