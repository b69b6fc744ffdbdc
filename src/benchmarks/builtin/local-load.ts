import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { deferred, type Deferred } from '../../base/condition.ts';
import { BenchmarkExecutionError } from '../../base/errors.ts';
import {
  agentFile,
  loadOf,
  serving,
  type AgentAnswer,
  type FromAgent,
  type ToAgent,
} from './agent-protocol.ts';
import type { LoadRequest, MadeLoad, OnSeen } from './make-load.ts';

interface Asked {
  readonly onSeen: OnSeen;
  readonly answer: Deferred<AgentAnswer>;
}

interface Agent {
  readonly child: ChildProcess;
  readonly asked: Map<number, Asked>;
}

/** A load that was told to stop has this long; its threads have less. */
const graceMs = 4000;

/**
 * Makes loads in a process of its own, kept for the next one: threads of this machine's load share neither an event
 * loop nor a fate with the study, and a Node that crashes under load (nodejs/node#56312) costs a measurement at most.
 */
export class LocalLoad implements AsyncDisposable {
  #agent: Agent | undefined;
  #asked = 0;

  /**
   * @returns undefined where `onSeen` ended it
   * @throws UnusableTarget, BenchmarkExecutionError, the signal's reason
   */
  async make(request: LoadRequest, onSeen: OnSeen, signal: AbortSignal): Promise<MadeLoad | undefined> {
    signal.throwIfAborted();
    const { child, asked } = (this.#agent ??= this.#start());
    const id = this.#asked++;
    const answer = deferred<AgentAnswer>();
    const send = (message: ToAgent): void =>
      void child.send(message, (error) => error && answer.reject(failure(error.message)));
    const enough = new AbortController();
    let given: NodeJS.Timeout | undefined;
    const abort = (): void => {
      send({ type: 'abort', id });
      given ??= setTimeout(() => child.kill('SIGKILL'), graceMs);
    };
    asked.set(id, {
      answer,
      onSeen: (seen, elapsedS) => {
        if (enough.signal.aborted || signal.aborted || !onSeen(seen, elapsedS)) return false;
        enough.abort();
        abort();
        return true;
      },
    });
    signal.addEventListener('abort', abort, { once: true });
    keepsAwake(child, true);
    try {
      send({ type: 'make', id, request });
      return loadOf(await answer.promise);
    } catch (error) {
      if (enough.signal.aborted) return undefined;
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
      clearTimeout(given);
      asked.delete(id);
      if (asked.size === 0) keepsAwake(child, false);
      signal.throwIfAborted();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#agent?.child;
    if (child === undefined) return;
    const gone = once(child, 'exit');
    if (child.connected) child.disconnect();
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    await gone.finally(() => clearTimeout(timer));
  }

  #start(): Agent {
    const child = fork(agentFile(), [serving], {
      ...{ execArgv: [], serialization: 'advanced', stdio: ['ignore', 'ignore', 'pipe', 'ipc'] },
    });
    const agent: Agent = { child, asked: new Map() };
    let said = '';
    (child.stderr as Socket).unref();
    child.stderr?.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000)));
    child.on('message', (message: FromAgent) => {
      const one = agent.asked.get(message.id);
      if (message.type === 'answer') one?.answer.resolve(message.answer);
      else one?.onSeen(message.seen, message.elapsedS);
    });
    const end = (why: string): void => {
      if (this.#agent === agent) this.#agent = undefined;
      const error = failure(`its process ${why}${said === '' ? '' : `: ${said.trim()}`}`);
      for (const { answer } of agent.asked.values()) answer.reject(error);
    };
    child.on('error', (error) => end(`could not be started: ${error.message}`));
    child.on('exit', (code, name) =>
      end(name === null ? `ended with exit code ${code}` : `was ended by ${name}`),
    );
    return agent;
  }
}

const failure = (reason: string): BenchmarkExecutionError => new BenchmarkExecutionError('builtin', reason);

/** Whether this process waits for that one. */
function keepsAwake(child: ChildProcess, does: boolean): void {
  for (const handle of [child, child.channel]) {
    if (does) handle?.ref();
    else handle?.unref();
  }
}
