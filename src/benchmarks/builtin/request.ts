import type { Dispatcher, Pool } from 'undici';
import { TokenStream } from './stream.ts';

export interface Endpoint {
  readonly pool: Pool;
  readonly path: string;
  readonly model: string;
  readonly chat: boolean;
  readonly ignoreEos: boolean;
  /** Called whenever the server says anything. */
  readonly heard: (now: number) => void;
}

/** What was said so far, the user first, and how long the answer may be. */
export interface Ask {
  readonly said: readonly string[];
  readonly maxTokens: number;
  /** Called once the first token is there. */
  readonly onFirst?: ((now: number) => void) | undefined;
}

/** The outcome, and the answer for whoever goes on with it. */
export interface Answered {
  readonly outcome: RequestOutcome;
  readonly text: string;
}

export type FailureKind = 'refused' | 'timeout' | 'http' | 'error' | 'empty' | 'truncated';

/** What came of one request; times in ms, from when it was due. */
export type RequestOutcome =
  | {
      readonly ok: true;
      readonly ttftMs: number;
      readonly e2elMs: number;
      /** Between arrivals of token events. */
      readonly itlsMs: readonly number[];
      readonly inputTokens: number;
      readonly outputTokens: number;
      /** Counted from events, because the server reports no usage. */
      readonly estimated: boolean;
      /** Why the answer ended, in the server's word. */
      readonly finish: string | undefined;
    }
  | {
      readonly ok: false;
      readonly kind: FailureKind;
      readonly status: number | undefined;
      readonly message: string;
    };

/** In turns of the user and the assistant; a completion sees one text. */
function conversation(endpoint: Endpoint, said: readonly string[]): object {
  if (!endpoint.chat) return { prompt: said.join('\n') };
  const role = (index: number): string => (index % 2 === 0 ? 'user' : 'assistant');
  return { messages: said.map((content, index) => ({ role: role(index), content })) };
}

function body(endpoint: Endpoint, ask: Ask): string {
  return JSON.stringify({
    model: endpoint.model,
    ...conversation(endpoint, ask.said),
    max_tokens: ask.maxTokens,
    temperature: 0,
    stream: true,
    stream_options: { include_usage: true },
    ...(endpoint.ignoreEos ? { ignore_eos: true } : {}),
  });
}

function failure(error: Error & { code?: string }, signal: AbortSignal): RequestOutcome {
  if (signal.aborted)
    return {
      ok: false,
      kind: 'timeout',
      status: undefined,
      message: `cut off: ${(signal.reason as Error).message}`,
    };
  const refused = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'].includes(
    error.code ?? '',
  );
  return { ok: false, kind: refused ? 'refused' : 'error', status: undefined, message: error.message };
}

async function attempt(
  endpoint: Endpoint,
  ask: Ask,
  due: number,
  signal: AbortSignal,
): Promise<Answered & { answered: boolean }> {
  return new Promise((resolve) => {
    const stream = new TokenStream(due, ask.onFirst);
    let status = 0;
    let excerpt = '';
    const onAbort = new Set<() => void>();
    const settle = (outcome: RequestOutcome): void => {
      for (const off of onAbort) off();
      resolve({ outcome, text: stream.text, answered: status !== 0 });
    };
    // A request that waits for a connection has not started: nobody would end it before that is given up.
    const cutOff = (): void => settle(failure(new Error('cut off'), signal));
    signal.addEventListener('abort', cutOff, { once: true });
    onAbort.add(() => signal.removeEventListener('abort', cutOff));
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(controller) {
        signal.removeEventListener('abort', cutOff);
        const abort = (): void => controller.abort(signal.reason as Error);
        if (signal.aborted) abort();
        signal.addEventListener('abort', abort, { once: true });
        onAbort.add(() => signal.removeEventListener('abort', abort));
      },
      onResponseStart(_controller, statusCode) {
        status = statusCode;
      },
      onResponseData(_controller, chunk) {
        const now = performance.now();
        endpoint.heard(now);
        if (status === 200) stream.feed(chunk, now);
        else if (excerpt.length < 500) excerpt += chunk.toString('utf8');
      },
      onResponseEnd() {
        if (status === 200) settle(stream.outcome());
        else settle({ ok: false, kind: 'http', status, message: `HTTP ${status}: ${excerpt.slice(0, 500)}` });
      },
      onResponseError(_controller, error) {
        settle(failure(error, signal));
      },
    };
    const headers = { 'content-type': 'application/json', accept: 'text/event-stream' };
    endpoint.pool.dispatch(
      { path: endpoint.path, method: 'POST', headers, body: body(endpoint, ask) },
      handler,
    );
  });
}

/** One streamed completion. A kept-alive socket that the server had already closed gets a second try. */
export async function completion(
  endpoint: Endpoint,
  ask: Ask,
  due: number,
  signal: AbortSignal,
): Promise<Answered> {
  if (signal.aborted) return { outcome: failure(new Error('cut off'), signal), text: '' };
  const first = await attempt(endpoint, ask, due, signal);
  const stale = !first.answered && !first.outcome.ok && first.outcome.kind === 'error';
  return stale ? attempt(endpoint, ask, due, signal) : first;
}
