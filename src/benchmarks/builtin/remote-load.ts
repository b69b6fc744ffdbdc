import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { childController } from '../../base/cancellation.ts';
import { BenchmarkParseError } from '../../base/errors.ts';
import { ms } from '../../base/units.ts';
import type { BenchmarkContext, Executor, LoadPlace, ToolHost } from '../../parallel/ports.ts';
import { runIn, type Tool } from '../tool.ts';
import {
  agentFile,
  answerFile,
  loadOf,
  seenFile,
  type AgentAnswer,
  type AgentSeen,
} from './agent-protocol.ts';
import type { LoadRequest, MadeLoad, OnSeen } from './make-load.ts';

const uploads = new WeakMap<Executor, Promise<string>>();

/** Once a connection: the agent is the same for all measurements. */
async function agentOn({ executor, cwd }: ToolHost, signal: AbortSignal): Promise<string> {
  const there = uploads.get(executor);
  if (there !== undefined) return there;
  const upload = async (): Promise<string> => {
    const code = readFileSync(agentFile());
    const version = createHash('sha256').update(code).digest('hex').slice(0, 12);
    const path = posix.join(cwd, `load-agent-${version}.mjs`);
    await executor.writeFile(path, code, signal);
    return path;
  };
  const uploading = upload();
  uploads.set(executor, uploading);
  uploading.catch(() => uploads.delete(executor));
  return uploading;
}

/** Between two looks at how far it is: each is a command on its machine. */
const lookEvery = ms(2000);

/** Looks at what the agent has seen until the signal says that it has ended. */
async function follow(
  host: ToolHost,
  context: BenchmarkContext,
  onSeen: OnSeen,
  ended: AbortSignal,
): Promise<boolean> {
  const path = posix.join(host.directory, seenFile);
  for (;;) {
    try {
      await context.clock.sleep(lookEvery, ended);
      const { seen, elapsedS } = JSON.parse(
        (await host.executor.readFile(path, ended)).toString('utf8'),
      ) as AgentSeen;
      if (onSeen(seen, elapsedS)) return true;
    } catch {
      if (ended.aborted) return false;
      // It has seen nothing yet.
    }
  }
}

async function answerOf(host: ToolHost, { signal }: BenchmarkContext): Promise<AgentAnswer> {
  const path = posix.join(host.directory, answerFile);
  const text = (await host.executor.readFile(path, signal)).toString('utf8');
  try {
    return JSON.parse(text) as AgentAnswer;
  } catch (cause) {
    throw new BenchmarkParseError('builtin', text, `${path} is not whole`, { cause });
  }
}

/**
 * On a node or a load host, by the Node that is installed there.
 * @returns undefined where `onSeen` ended it
 * @throws UnusableTarget, BenchmarkError, CommunicationError, the signal's reason
 */
export async function remoteLoad(
  where: Exclude<LoadPlace, 'controller'>,
  request: LoadRequest,
  onSeen: OnSeen,
  context: BenchmarkContext,
): Promise<MadeLoad | undefined> {
  const host = await context.toolHost(where);
  const agent = await agentOn(host, context.signal);
  const tool: Tool = {
    ...{ name: 'builtin', where, argv: ['node', agent], stdin: JSON.stringify(request) },
    ifMissing: `Install Node 20 or newer on ${where.replace('host:', '')}, or set run_on = "controller" in [builtin].`,
  };
  using enough = childController(context.signal);
  using ended = childController(context.signal);
  const following = follow(host, context, onSeen, ended.signal).then((isEnough) => {
    if (isEnough) enough.abort(new Error('nothing could save it'));
    return isEnough;
  });
  try {
    await runIn(host, tool, { ...context, signal: enough.signal });
  } catch (error) {
    context.signal.throwIfAborted();
    if (enough.signal.aborted) return undefined;
    // It may not be there any more: somebody has cleaned up.
    uploads.delete(host.executor);
    throw error;
  } finally {
    ended.abort(new Error('it has ended'));
    await following;
  }
  const answer = await answerOf(host, context);
  await removeFrom(host, context).catch(() => context.signal.throwIfAborted());
  return loadOf(answer);
}

/** What every request came to is large, and what matters of it is kept here. */
async function removeFrom({ executor, directory }: ToolHost, { signal }: BenchmarkContext): Promise<void> {
  const command = { argv: ['rm', '-rf', '--', directory], label: 'removing a load' } as const;
  await executor.run(command, { signal, timeout: ms(60_000) });
}
