import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { overtaken } from '../../base/cancellation.ts';
import { deferred, type Deferred } from '../../base/condition.ts';
import { BenchmarkExecutionError } from '../../base/errors.ts';
import {
  agentFile,
  loadOf,
  remedies,
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
const excerptLength = 4000;

const failure = (reason: string): BenchmarkExecutionError =>
  new BenchmarkExecutionError('builtin', reason, undefined, { remedy: remedies.here });
const lives = ({ connected, exitCode, signalCode }: ChildProcess): boolean =>
  connected && exitCode === null && signalCode === null;

/** Whether this process waits for that one. */
function keepsAwake(child: ChildProcess, does: boolean): void {
  for (const handle of [child, child.channel]) {
    if (does) handle?.ref();
    else handle?.unref();
  }
}

/** What of all that it said names the reason. */
function reasonIn(said: string): string {
  const lines = said.split('\n').map((line) => line.trim());
  const found = lines.find((line) => /error/i.test(line)) ?? lines.find((line) => line !== '');
  return found === undefined ? '' : `: ${found}`;
}

/**
 * Makes loads in a process of its own, kept for the next one: threads of this machine's load share neither an event
 * loop nor a fate with the study, and a Node that crashes under load (nodejs/node#56312) costs what is being measured.
 */
export class LocalLoad implements AsyncDisposable {
  #agent: Agent | undefined;
  #asked = 0;

  /**
   * @returns undefined where `onSeen` ended it
   * @throws UnusableTarget, BenchmarkExecutionError, the signal's reason
   */
  async make(
    request: LoadRequest,
    onSeen: OnSeen<boolean>,
    signal: AbortSignal,
  ): Promise<MadeLoad | undefined> {
    signal.throwIfAborted();
    if (this.#agent === undefined || !lives(this.#agent.child)) this.#agent = this.#start();
    const { child, asked } = this.#agent;
    const id = this.#asked++;
    const answer = deferred<AgentAnswer>();
    const enough = new AbortController();
    let given: NodeJS.Timeout | undefined;
    const send = (message: ToAgent): void => {
      if (!lives(child)) answer.reject(failure('its process is gone'));
      else child.send(message, (error) => error && answer.reject(failure(error.message)));
    };
    const giveUp = (): void => {
      // Others may be measured by it.
      if (asked.size === 1) child.kill('SIGKILL');
      answer.reject(failure('it did not stop in time'));
    };
    const abort = (): void => {
      send({ type: 'abort', id });
      // Where this process was busy the answer may be there already, and is read first.
      given ??= setTimeout(() => setImmediate(giveUp), graceMs);
    };
    asked.set(id, {
      answer,
      onSeen: (seen, elapsedS) => {
        try {
          if (enough.signal.aborted || signal.aborted || !onSeen(seen, elapsedS)) return;
          enough.abort(overtaken);
        } catch (error) {
          answer.reject(error as Error);
        }
        abort();
      },
    });
    signal.addEventListener('abort', abort, { once: true });
    keepsAwake(child, true);
    try {
      send({ type: 'make', id, request });
      return loadOf(await answer.promise, remedies.here);
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
    if (child === undefined || !lives(child)) return;
    const gone = once(child, 'exit');
    child.disconnect();
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    await gone.finally(() => clearTimeout(timer));
  }

  #start(): Agent {
    const child = fork(agentFile(), [serving], {
      ...{ execArgv: [], serialization: 'advanced', stdio: ['ignore', 'ignore', 'pipe', 'ipc'] },
    });
    const agent: Agent = { child, asked: new Map() };
    let said = '';
    const end = (why: string): void => {
      const error = failure(`its process ${why}${reasonIn(said)}`);
      for (const { answer } of agent.asked.values()) answer.reject(error);
    };
    child.on('error', (error) => end(`failed: ${error.message}`));
    child.on('exit', (code, name) =>
      end(name === null ? `ended with exit code ${code}` : `was ended by ${name}`),
    );
    child.on('message', (message: FromAgent) => {
      const one = agent.asked.get(message.id);
      if (message.type === 'answer') one?.answer.resolve(message.answer);
      else one?.onSeen(message.seen, message.elapsedS);
    });
    const stderr = child.stderr as Socket | null; // none where it could not be started
    stderr?.unref();
    stderr?.on('data', (chunk: Buffer) => {
      if (said.length < excerptLength) said += chunk.toString();
    });
    return agent;
  }
}
