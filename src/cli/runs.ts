import { join } from 'node:path';
import { ConfigurationError } from '../base/errors.ts';
import { quote } from '../remote/quote.ts';
import { runNamed } from '../runs/catalog.ts';
import { repairJournal, type Repair } from '../runs/repair.ts';
import { exitCodes, printFailure } from './outcome.ts';

export interface RepairOptions {
  readonly output?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
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
  try {
    const runId = runNamed(output, named);
    const done = await repairJournal(join(output, 'runs', runId), dryRun, new Date());
    process.stdout.write(
      json
        ? `${JSON.stringify({ schema: 1, run_id: runId, ...done }, null, 2)}\n`
        : told(done, runId, output),
    );
    return 0;
  } catch (error) {
    const usage = error instanceof ConfigurationError;
    return printFailure(error, usage ? exitCodes.usage : exitCodes.infrastructure, json);
  }
}
