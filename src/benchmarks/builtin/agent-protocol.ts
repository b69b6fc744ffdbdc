import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BenchmarkExecutionError, BenchmarkParseError } from '../../base/errors.ts';
import type { Seen } from './ledger.ts';
import { UnusableTarget } from './load.ts';
import type { LoadRequest, MadeLoad } from './make-load.ts';

/** Between the optimizer and the process that makes its load, on this machine or another one. */

/** Compiled code has the agent beside it; sources, as tests run them, use the one that was built. */
export function agentFile(): string {
  const beside = fileURLToPath(new URL('./agent.mjs', import.meta.url));
  return existsSync(beside) ? beside : beside.replace('/src/', '/dist/');
}

/** Its first word where it serves this machine: many loads, by messages. Without it makes one, by files. */
export const serving = 'serve';

/** In the directory that it runs in. */
export const answerFile = 'load.json';
export const seenFile = 'seen.json';

export type AgentAnswer =
  | { readonly type: 'made'; readonly load: MadeLoad }
  | {
      readonly type: 'unusable';
      readonly message: string;
      readonly status?: number | undefined;
      readonly code?: string | undefined;
    }
  | { readonly type: 'failed'; readonly message: string };

export interface AgentSeen {
  readonly seen: readonly Seen[];
  readonly elapsedS: number;
}

export type ToAgent =
  | { readonly type: 'make'; readonly id: number; readonly request: LoadRequest }
  | { readonly type: 'abort'; readonly id: number };
export type FromAgent =
  | ({ readonly type: 'seen'; readonly id: number } & AgentSeen)
  | { readonly type: 'answer'; readonly id: number; readonly answer: AgentAnswer };

export const remedies = {
  here: 'Lower threads or max_concurrency of [builtin] where this machine has too little memory for them.',
  elsewhere: 'Look at the disk and the memory there, or set run_on = "controller" in [builtin].',
} as const;

/** @throws UnusableTarget, BenchmarkExecutionError */
export function loadOf(answer: AgentAnswer, remedy: string): MadeLoad {
  if (answer.type === 'made') return answer.load;
  if (answer.type === 'failed')
    throw new BenchmarkExecutionError('builtin', answer.message, undefined, { remedy });
  throw new UnusableTarget(answer.message, answer);
}

/** What an agent wrote on a machine that is not ours. @throws BenchmarkParseError */
export function parseAnswer(text: string): AgentAnswer {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new BenchmarkParseError('builtin', text, `${answerFile} is not whole`, {
      ...{ cause, remedy: remedies.elsewhere },
    });
  }
  const { type, load, message } = (value ?? {}) as {
    type?: unknown;
    load?: Partial<MadeLoad>;
    message?: unknown;
  };
  const isMade = type === 'made' && Array.isArray(load?.results);
  if (isMade || ((type === 'unusable' || type === 'failed') && typeof message === 'string'))
    return value as AgentAnswer;
  const why = `${answerFile} is no answer of the load generator`;
  throw new BenchmarkParseError('builtin', text, why, { remedy: remedies.elsewhere });
}
