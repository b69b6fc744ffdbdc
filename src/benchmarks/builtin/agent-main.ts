import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { need } from '../../base/assert.ts';
import { never } from '../../base/cancellation.ts';
import { agentThreads, answerTo } from './agent-answer.ts';
import { answerFile, seenFile, type AgentAnswer, type AgentSeen } from './agent-protocol.ts';
import type { LoadRequest } from './make-load.ts';

/** Whole or not at all, whoever reads it meanwhile. */
function save(name: string, value: AgentAnswer | AgentSeen): void {
  writeFileSync(`${name}.new`, JSON.stringify(value));
  renameSync(`${name}.new`, name);
}

/** One measurement: the request is in the file that it is started with. */
await using threads = agentThreads();
const file = need(process.argv[2], 'file of the request');
const request = JSON.parse(readFileSync(file, 'utf8')) as LoadRequest;
const answer = await answerTo(request, {
  ...{ threads, signal: never },
  onSeen: (seen, elapsedS) => save(seenFile, { seen, elapsedS }),
});
save(answerFile, answer);
