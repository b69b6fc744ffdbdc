import { fileURLToPath } from 'node:url';
import type { AgentAnswer } from './agent-protocol.ts';
import { UnusableTarget } from './load.ts';
import { makeLoad, type LoadRequest, type OnSeen } from './make-load.ts';
import { LoadThreads } from './threads.ts';

/** The agent is one file: what runs it is what its threads run. */
export const agentThreads = (): LoadThreads => new LoadThreads(fileURLToPath(import.meta.url));

/** Never rejects. */
export async function answerTo(
  request: LoadRequest,
  {
    threads,
    onSeen,
    signal,
  }: { readonly threads: LoadThreads; readonly onSeen: OnSeen; readonly signal: AbortSignal },
): Promise<AgentAnswer> {
  try {
    return { type: 'made', load: await makeLoad(threads, request, onSeen, signal) };
  } catch (error) {
    const { message } = error as Error;
    if (!(error instanceof UnusableTarget)) return { type: 'failed', message };
    return { type: 'unusable', message, status: error.status, code: error.code };
  }
}
