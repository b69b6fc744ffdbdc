import { randomUUID } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigurationError } from '../base/errors.ts';
import { parseNodeString } from '../config/host-lists.ts';
import { runNamed } from '../runs/catalog.ts';
import { isWritten } from '../runs/lock.ts';
import { scaleFiles, type ScaleAnswer, type ScaleRequest } from '../scaling.ts';
import { exitCodes, printFailure } from './outcome.ts';

export interface ScaleOptions {
  readonly add?: string;
  readonly remove?: string;
  readonly drain?: string;
  readonly output?: string;
  readonly json?: boolean;
}

const patience = 10_000;

function requestOf({ add, remove, drain }: ScaleOptions): ScaleRequest {
  if ((add ?? remove ?? drain) === undefined) {
    const remedy = 'Give --add "n8,n9:n10,n11", --remove n3 or --drain 2.';
    throw new ConfigurationError('There is nothing to change', {}, { remedy });
  }
  const ids = (drain ?? '').split(',').filter((word) => word !== '');
  if (ids.some((word) => !/^\s*\d+\s*$/.test(word))) {
    const remedy = 'Give numbers of groups, such as --drain 2,3.';
    throw new ConfigurationError(`--drain ${drain ?? ''} names no groups`, {}, { remedy });
  }
  const hostsOf = (text: string | undefined) => (text === undefined ? [] : parseNodeString(text).groups);
  return {
    id: randomUUID(),
    add: hostsOf(add).map(({ hosts }) => hosts),
    remove: hostsOf(remove).flatMap(({ hosts }) => hosts.map(({ host }) => host)),
    drain: ids.map(Number),
  };
}

async function answerTo(file: string, id: string): Promise<ScaleAnswer | undefined> {
  const end = performance.now() + patience;
  while (performance.now() < end) {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
    const answer = lines.map((line) => JSON.parse(line) as ScaleAnswer).find((one) => one.id === id);
    if (answer !== undefined) return answer;
    await sleep(100);
  }
  return undefined;
}

/** Asks a running study to take groups in or out. @returns 0, or 3 where it did not answer */
export async function scale(named: string | undefined, options: ScaleOptions): Promise<number> {
  const json = options.json === true;
  try {
    const output = options.output ?? 'result';
    const run = runNamed(output, named);
    const directory = join(output, 'runs', run);
    if (!isWritten(join(directory, 'lock'))) {
      const remedy = `Go on with it first: optimizer resume ${run} --output ${output}`;
      throw new ConfigurationError(`Run ${run} is not running`, {}, { remedy });
    }
    const request = requestOf(options);
    const { requests, answers } = scaleFiles(directory);
    appendFileSync(requests, `${JSON.stringify(request)}\n`, { mode: 0o600 });
    const answer = await answerTo(answers, request.id);
    const says = answer?.says ?? [`run ${run} has not answered yet; it will tell in its log`];
    process.stdout.write(
      json
        ? `${JSON.stringify({ schema: 1, run_id: run, says }, null, 2)}\n`
        : says.map((line) => `${line}\n`).join(''),
    );
    return answer === undefined ? exitCodes.infrastructure : exitCodes.feasible;
  } catch (error) {
    return printFailure(error, exitCodes.usage, json);
  }
}
