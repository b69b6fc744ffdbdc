import { renameSync, writeFileSync } from 'node:fs';
import { json } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { never } from '../../base/cancellation.ts';
import { answerFile, seenFile, type AgentAnswer, type AgentSeen } from './agent-files.ts';
import { UnusableTarget } from './load.ts';
import { makeLoad, type LoadRequest } from './make-load.ts';
import { LoadThreads } from './threads.ts';

/** Whole or not at all, whoever reads it meanwhile. */
function save(name: string, value: AgentAnswer | AgentSeen): void {
  writeFileSync(`${name}.new`, JSON.stringify(value));
  renameSync(`${name}.new`, name);
}

async function answer(request: LoadRequest): Promise<AgentAnswer> {
  await using threads = new LoadThreads(fileURLToPath(import.meta.url));
  try {
    const load = await makeLoad(
      threads,
      request,
      (seen, elapsedS) => {
        save(seenFile, { seen, elapsedS });
        return false; // whoever reads it ends all of this
      },
      never,
    );
    return { type: 'made', load };
  } catch (error) {
    if (!(error instanceof UnusableTarget)) throw error;
    const { message, status, code } = error;
    return { type: 'unusable', message, status, code };
  }
}

/** One measurement: the request comes on stdin. */
try {
  save(answerFile, await answer((await json(process.stdin)) as LoadRequest));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
