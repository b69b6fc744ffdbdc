import { createParser } from 'eventsource-parser';
import { z } from 'zod';
import type { RequestOutcome } from './request.ts';

/** What servers differ in is left open; what is counted is checked. */
const tokens = z.number().int().nonnegative().nullish();
const said = z.string().nullish();
const streamEvent = z.object({
  choices: z
    .array(
      z.object({
        text: said,
        delta: z.object({ content: said, reasoning_content: said, reasoning: said }).nullish(),
        finish_reason: z.unknown(),
      }),
    )
    .nullish(),
  usage: z.object({ prompt_tokens: tokens, completion_tokens: tokens }).nullish(),
  error: z.union([z.string(), z.object({ message: said })]).nullish(),
});
type StreamEvent = z.infer<typeof streamEvent>;
type Choice = NonNullable<StreamEvent['choices']>[number];

const isGiven = <T>(value: T): value is NonNullable<T> => value !== undefined && value !== null;

/** What the user would see of an event: nothing where it only names the role. Reasoning is output as well. */
function textOf({ text, delta }: Choice): string {
  return text ?? delta?.content ?? delta?.reasoning_content ?? delta?.reasoning ?? '';
}

function errorText(error: NonNullable<StreamEvent['error']>): string {
  return typeof error === 'string' ? error : (error.message ?? 'unknown error');
}

/** Longer than any event: a server that never ends its line does not fill the memory. */
const eventLimit = 4 * 1024 * 1024;

/** Follows the events of one streamed completion. Times are ms; none of its input makes it throw. */
export class TokenStream {
  readonly #due: number;
  readonly #onFirst: (now: number) => void;
  readonly #itls: number[] = [];
  readonly #decoder = new TextDecoder();
  readonly #text: string[] = [];
  readonly #parser = createParser({
    maxBufferSize: eventLimit,
    onEvent: ({ data }) => this.#take(data),
    onError: ({ type }) => {
      // Fields that nobody knows are left out, as the format asks for.
      if (type === 'max-buffer-size-exceeded') this.#fail(`an event of more than ${eventLimit} bytes`);
    },
  });
  #now = 0;
  #first: number | undefined;
  #last = 0;
  #events = 0;
  #done = false;
  #finish: string | undefined;
  #usage: StreamEvent['usage'];
  #error: string | undefined;

  constructor(due: number, onFirst: (now: number) => void = () => undefined) {
    this.#due = due;
    this.#onFirst = onFirst;
  }

  /** Bytes as they arrived at `now`. */
  feed(bytes: Uint8Array, now: number): void {
    this.#now = now;
    if (this.#error === undefined) this.#parser.feed(this.#decoder.decode(bytes, { stream: true }));
  }

  get text(): string {
    return this.#text.join('');
  }

  /** What came of the request, when the server has ended its answer. */
  outcome(): RequestOutcome {
    if (this.#error !== undefined) return { ok: false, kind: 'error', status: 200, message: this.#error };
    if (this.#first === undefined) return { ok: false, kind: 'empty', status: 200, message: 'no token came' };
    if (!this.#done) return { ok: false, kind: 'truncated', status: 200, message: 'the stream broke off' };
    const counted = this.#usage?.completion_tokens ?? undefined;
    return {
      ok: true,
      ttftMs: this.#first - this.#due,
      e2elMs: this.#last - this.#due,
      itlsMs: this.#itls,
      inputTokens: this.#usage?.prompt_tokens ?? 0,
      outputTokens: counted ?? this.#events,
      estimated: counted === undefined,
      finish: this.#finish,
    };
  }

  #fail(why: string): void {
    this.#error ??= why;
  }

  #take(data: string): void {
    if (data === '[DONE]') {
      this.#done = true;
      return;
    }
    const event = eventOf(data);
    if (event === undefined) {
      this.#fail(`an event that is no part of a completion: ${data.slice(0, 200)}`);
      return;
    }
    if (isGiven(event.error)) this.#fail(errorText(event.error));
    this.#usage = event.usage ?? this.#usage;
    const choice = event.choices?.[0];
    if (choice === undefined) return;
    const { finish_reason: finish } = choice;
    if (isGiven(finish)) this.#done = true;
    if (typeof finish === 'string') this.#finish = finish;
    const text = textOf(choice);
    if (text === '') return;
    this.#text.push(text);
    this.#token();
  }

  #token(): void {
    if (this.#first === undefined) {
      this.#first = this.#now;
      this.#onFirst(this.#now);
    } else this.#itls.push(this.#now - this.#last);
    this.#last = this.#now;
    this.#events++;
  }
}

function eventOf(data: string): StreamEvent | undefined {
  try {
    return streamEvent.parse(JSON.parse(data));
  } catch {
    return undefined;
  }
}
