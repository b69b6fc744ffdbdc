import { createParser } from 'eventsource-parser';
import type { Dispatcher, Pool } from 'undici';

export interface Endpoint {
  readonly pool: Pool;
  readonly path: string;
  readonly model: string;
  readonly chat: boolean;
  readonly ignoreEos: boolean;
}

/** What was said so far, the user first, and how long the answer may be. */
export interface Ask {
  readonly said: readonly string[];
  readonly maxTokens: number;
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
    }
  | {
      readonly ok: false;
      readonly kind: FailureKind;
      readonly status: number | undefined;
      readonly message: string;
    };

interface Choice {
  readonly text?: string | null;
  readonly delta?: {
    readonly content?: string | null;
    readonly reasoning_content?: string | null;
    readonly reasoning?: string | null;
  };
  readonly finish_reason?: string | null;
}

interface StreamEvent {
  readonly choices?: readonly Choice[];
  readonly usage?: { readonly prompt_tokens?: number; readonly completion_tokens?: number } | null;
  readonly error?: { readonly message?: string } | string;
}

/** What the user would see of an event: nothing where it only names the role. Reasoning is output as well. */
function textOf({ text, delta }: Choice): string {
  return text ?? delta?.content ?? delta?.reasoning_content ?? delta?.reasoning ?? '';
}

function errorText(error: NonNullable<StreamEvent['error']>): string {
  return typeof error === 'string' ? error : (error.message ?? 'unknown error');
}

/** Follows one stream of tokens. */
class TokenStream {
  readonly #due: number;
  readonly #itls: number[] = [];
  #first: number | undefined;
  #last = 0;
  #events = 0;
  #done = false;
  #usage: StreamEvent['usage'];
  #error: string | undefined;
  readonly #text: string[] = [];

  constructor(due: number) {
    this.#due = due;
  }

  take(data: string, now: number): void {
    if (data === '[DONE]') {
      this.#done = true;
      return;
    }
    let event: StreamEvent;
    try {
      event = JSON.parse(data) as StreamEvent;
    } catch {
      this.#error = `an event that is no JSON: ${data.slice(0, 200)}`;
      return;
    }
    if (event.error !== undefined) this.#error = errorText(event.error);
    this.#usage = event.usage ?? this.#usage;
    const choice = event.choices?.[0];
    if (choice === undefined) return;
    if (typeof choice.finish_reason === 'string') this.#done = true;
    const text = textOf(choice);
    if (text === '') return;
    this.#text.push(text);
    this.#token(now);
  }

  get text(): string {
    return this.#text.join('');
  }

  #token(now: number): void {
    if (this.#first === undefined) this.#first = now;
    else this.#itls.push(now - this.#last);
    this.#last = now;
    this.#events++;
  }

  outcome(): RequestOutcome {
    if (this.#error !== undefined) return { ok: false, kind: 'error', status: 200, message: this.#error };
    if (this.#first === undefined) return { ok: false, kind: 'empty', status: 200, message: 'no token came' };
    if (!this.#done) return { ok: false, kind: 'truncated', status: 200, message: 'the stream broke off' };
    const counted = this.#usage?.completion_tokens;
    return {
      ok: true,
      ttftMs: this.#first - this.#due,
      e2elMs: this.#last - this.#due,
      itlsMs: this.#itls,
      inputTokens: this.#usage?.prompt_tokens ?? 0,
      outputTokens: counted ?? this.#events,
      estimated: counted === undefined,
    };
  }
}

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
    return { ok: false, kind: 'timeout', status: undefined, message: 'cut off by the time limit' };
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
    const stream = new TokenStream(due);
    let status = 0;
    let now = 0;
    let excerpt = '';
    const parser = createParser({ onEvent: ({ data }) => stream.take(data, now) });
    const decoder = new TextDecoder();
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
        now = performance.now();
        const text = decoder.decode(chunk, { stream: true });
        if (status === 200) parser.feed(text);
        else if (excerpt.length < 500) excerpt += text;
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
