import { agentThreads, answerTo } from './agent-answer.ts';
import type { FromAgent, ToAgent } from './agent-protocol.ts';

/** Loads for whoever has forked this process, as many at a time as are asked for. */

const threads = agentThreads();
const running = new Map<number, AbortController>();
const send = (message: FromAgent): void => void process.send?.(message);

async function make({ id, request }: Extract<ToAgent, { type: 'make' }>): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  const { signal } = controller;
  const answer = await answerTo(request, {
    threads,
    onSeen: (seen, elapsedS) => send({ type: 'seen', id, seen, elapsedS }),
    signal,
  });
  running.delete(id);
  send({ type: 'answer', id, answer });
}

process.on('message', (message: ToAgent) => {
  if (message.type === 'make') void make(message);
  else running.get(message.id)?.abort(new Error('aborted'));
});
// Nobody is there any more, however that came about.
process.on('disconnect', () => process.exit());
// A terminal tells all of its processes: when this one ends is for the other one to say.
for (const name of ['SIGINT', 'SIGHUP'] as const) process.on(name, () => undefined);
