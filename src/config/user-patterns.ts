import type { Pattern } from '../core/resilience/start-failure.ts';
import type { HealthCheckTable } from './schema-tables.ts';

/** What the user knows of the logs of their service and of their load tool; looked at before what we know. */
export interface UserPatterns {
  readonly service: readonly Pattern[];
  readonly benchmark: readonly Pattern[];
}

type Table = HealthCheckTable['service_errors'];

/** Fatal ones are not tried again; of those a broken device is the machine's fault, all else the configuration's. */
function patternsOf(
  { fatal_patterns, retryable_patterns }: Table,
  retryable: 'node' | 'benchmark',
): Pattern[] {
  const made = (lists: Table['fatal_patterns'], blameOf: (kind: string) => Pattern['blame']): Pattern[] =>
    Object.entries(lists).flatMap(([kind, texts]) =>
      texts.map((text) => ({
        text,
        ignoreCase: true,
        blame: blameOf(kind),
        remedy: `Known from [health_check]: ${kind.replaceAll('_', ' ')}.`,
        fatal: true,
      })),
    );
  return [
    ...made(fatal_patterns, (kind) => (kind.startsWith('device') ? 'node' : 'params')),
    ...made(retryable_patterns, () => retryable),
  ];
}

export function userPatterns({ service_errors, benchmark_errors }: HealthCheckTable): UserPatterns {
  return {
    service: patternsOf(service_errors, 'node'),
    benchmark: patternsOf(benchmark_errors, 'benchmark'),
  };
}
