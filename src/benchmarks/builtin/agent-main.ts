import { renameSync, writeFileSync } from 'node:fs';
import { json } from 'node:stream/consumers';
import { never } from '../../base/cancellation.ts';
import { agentThreads, answerTo } from './agent-answer.ts';
import { answerFile, seenFile, type AgentAnswer, type AgentSeen } from './agent-protocol.ts';
import type { LoadRequest, OnSeen } from './make-load.ts';

/** Whole or not at all, whoever reads it meanwhile. */
function save(name: string, value: AgentAnswer | AgentSeen): void {
  writeFileSync(`${name}.new`, JSON.stringify(value));
  renameSync(`${name}.new`, name);
}

const onSeen: OnSeen = (seen, elapsedS) => {
  save(seenFile, { seen, elapsedS });
  return false; // whoever reads it ends all of this
};

/** One measurement: the request comes on stdin. */
await using threads = agentThreads();
const request = (await json(process.stdin)) as LoadRequest;
save(answerFile, await answerTo(request, { threads, onSeen, signal: never }));
