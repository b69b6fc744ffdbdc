import { Pool } from 'undici';
import type { BenchmarkTarget } from '../../parallel/ports.ts';
import { firstModel } from './load.ts';
import { completion, type Endpoint } from './request.ts';

/** Questions with short answers: a configuration that changes what the model says is seen by them. */
const questions = [
  ...['The capital of France is', 'Two plus two equals', 'The opposite of hot is', 'Water freezes at'],
  ...['The largest planet is', 'A triangle has', 'The first month of the year is', 'The sun rises in the'],
  ...['In Spanish, "thank you" is', 'The square root of 81 is', 'The author of Hamlet is', 'Ice is made of'],
  ...[
    'The days of the week are',
    'Count from one to ten: one,',
    'The colors of the rainbow are',
    'H2O is called',
  ],
  ...[
    'The speed of light is about',
    'A group of wolves is called',
    'The past tense of "go" is',
    'Pi is roughly',
  ],
];
const answerTokens = 16;
const lanes = 5;
const limitMs = 60_000;

/**
 * Greedy answers to the same questions, whoever serves; undefined where one of them did not come.
 * @throws the signal's reason
 */
export async function askCanary(
  { baseUrl, model }: BenchmarkTarget,
  chat: boolean,
  signal: AbortSignal,
): Promise<readonly string[] | undefined> {
  const base = new URL(baseUrl);
  const path = base.pathname.replace(/\/(v1\/?)?$/, '');
  const limit = AbortSignal.any([signal, AbortSignal.timeout(limitMs)]);
  const pool = new Pool(base.origin, { connections: lanes, pipelining: 1 });
  try {
    const endpoint: Endpoint = {
      ...{ pool, chat, ignoreEos: false, heard: () => undefined },
      path: `${path}/v1/${chat ? 'chat/completions' : 'completions'}`,
      model: model ?? (await firstModel(pool, path, limit)),
    };
    const answers: string[] = [];
    const left = [...questions.entries()];
    const lane = async (): Promise<void> => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) {
        const [index, question] = next;
        const ask = { said: [question], maxTokens: answerTokens };
        const { outcome, text } = await completion(endpoint, ask, performance.now(), limit);
        if (outcome.ok) answers[index] = text;
      }
    };
    await Promise.all(Array.from({ length: lanes }, lane));
    return Object.keys(answers).length === questions.length ? answers : undefined;
  } catch {
    return undefined; // the load will tell why
  } finally {
    await pool.destroy();
    signal.throwIfAborted();
  }
}
