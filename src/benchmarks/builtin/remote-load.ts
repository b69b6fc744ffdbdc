import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { abortable, childController } from '../../base/cancellation.ts';
import { BenchmarkExecutionError, ModelEvalStateError } from '../../base/errors.ts';
import { ms } from '../../base/units.ts';
import type { BenchmarkContext, Executor, LoadPlace, ToolHost } from '../../parallel/ports.ts';
import { runIn, type Tool } from '../tool.ts';
import {
  agentFile,
  answerFile,
  loadOf,
  parseAnswer,
  remedies,
  seenFile,
  type AgentAnswer,
  type AgentSeen,
} from './agent-protocol.ts';
import type { LoadRequest, MadeLoad, OnSeen } from './make-load.ts';

const uploads = new WeakMap<Executor, Promise<string>>();
const uploadLimit = ms(60_000);

/** Once a connection, for all who measure from there: the agent is the same, and whoever asked first may give up. */
async function agentOn({ executor, cwd }: ToolHost, signal: AbortSignal): Promise<string> {
  const upload = async (): Promise<string> => {
    const code = readFileSync(agentFile());
    const version = createHash('sha256').update(code).digest('hex').slice(0, 12);
    const path = posix.join(cwd, `load-agent-${version}.mjs`);
    await executor.writeFile(path, code, AbortSignal.any([executor.lost, AbortSignal.timeout(uploadLimit)]));
    return path;
  };
  let uploading = uploads.get(executor);
  if (uploading === undefined) {
    uploads.set(executor, (uploading = upload()));
    uploading.catch(() => uploads.delete(executor));
  }
  return abortable(uploading, signal);
}

/** Any Node can read this, and says which one it is. */
const start = `var v = process.versions.node.split('.');
if (+v[0] < 20 || (v[0] === '20' && +v[1] < 19)) {
  process.stderr.write('Node ' + process.versions.node + ' is too old: the load generator needs 20.19');
  process.exit(127);
}
import(require('url').pathToFileURL(process.argv[1]));`;

/** Between two looks at how far it is: each is a command on its machine, or even a job step. */
const looks = { first: ms(2000), factor: 1.25, longest: ms(30_000) } as const;

async function seenBy(
  { executor, directory }: ToolHost,
  signal: AbortSignal,
): Promise<AgentSeen | undefined> {
  try {
    const bytes = await executor.readFile(posix.join(directory, seenFile), signal);
    return JSON.parse(bytes.toString('utf8')) as AgentSeen;
  } catch {
    return undefined; // it has seen nothing yet
  }
}

/** Looks at what the agent has seen until the signal says that it has ended. @returns whether that is enough */
async function follow(
  host: ToolHost,
  { clock }: BenchmarkContext,
  onSeen: OnSeen<boolean>,
  ended: AbortSignal,
): Promise<boolean> {
  for (let pause: number = looks.first; ; pause = Math.min(looks.longest, pause * looks.factor)) {
    await clock.sleep(ms(pause), ended).catch(() => undefined);
    if (ended.aborted) return false;
    const seen = await seenBy(host, ended);
    if (seen !== undefined && onSeen(seen.seen, seen.elapsedS)) return true;
  }
}

async function answerOf({ executor, directory }: ToolHost, signal: AbortSignal): Promise<AgentAnswer> {
  const path = posix.join(directory, answerFile);
  let bytes: Buffer;
  try {
    bytes = await executor.readFile(path, signal);
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof ModelEvalStateError) throw cause;
    const reason = `it left no ${path} on ${executor.host}: ${(cause as Error).message}`;
    throw new BenchmarkExecutionError('builtin', reason, undefined, { cause, remedy: remedies.elsewhere });
  }
  return parseAnswer(bytes.toString('utf8'));
}

/**
 * On a node or a load host, by the Node that is installed there.
 * @returns undefined where `onSeen` ended it
 * @throws UnusableTarget, BenchmarkError, CommunicationError, the signal's reason
 */
export async function remoteLoad(
  where: Exclude<LoadPlace, 'controller'>,
  request: LoadRequest,
  onSeen: OnSeen<boolean>,
  context: BenchmarkContext,
): Promise<MadeLoad | undefined> {
  const { signal } = context;
  const host = await context.toolHost(where);
  const agent = await agentOn(host, signal);
  const file = `${host.directory}.request.json`;
  const tool: Tool = {
    ...{ name: 'builtin', where, argv: ['node', '-e', start, agent, file], onHost: true },
    ifMissing: `Install Node 20.19 or newer on ${where.replace('host:', '')}, or set run_on = "controller" in [builtin].`,
  };
  try {
    await host.executor.writeFile(file, JSON.stringify(request), signal);
    const ran = await runUntilEnough(host, tool, onSeen, context);
    return ran ? loadOf(await answerOf(host, signal), remedies.elsewhere) : undefined;
  } catch (error) {
    // It may not be there any more: somebody has cleaned up.
    uploads.delete(host.executor);
    throw error;
  } finally {
    await remove(host, [host.directory, file]);
  }
}

/** @returns false where `onSeen` ended it */
async function runUntilEnough(
  host: ToolHost,
  tool: Tool,
  onSeen: OnSeen<boolean>,
  context: BenchmarkContext,
): Promise<boolean> {
  using enough = childController(context.signal);
  using ended = childController(context.signal);
  const following = follow(host, context, onSeen, ended.signal);
  following.then(
    (isEnough) => isEnough && enough.abort(new Error('nothing could save it')),
    (error: unknown) => enough.abort(error),
  );
  try {
    await runIn(host, tool, { ...context, signal: enough.signal });
    return true;
  } catch (error) {
    context.signal.throwIfAborted();
    if (!enough.signal.aborted) throw error;
    return false;
  } finally {
    ended.abort(new Error('it has ended'));
    await following;
  }
}

/** What every request came to is large, and what matters of it is kept here. */
async function remove({ executor }: ToolHost, paths: readonly string[]): Promise<void> {
  const command = { argv: ['rm', '-rf', '--', ...paths], label: 'removing a load' } as const;
  try {
    // Also when all else is given up: prompts of somebody's dataset may be in it.
    await executor.run(command, { signal: executor.lost, timeout: ms(2000) });
  } catch {
    // It is a few files that stay.
  }
}
