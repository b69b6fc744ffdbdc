import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { z } from 'zod';
import { version } from '../base/version.ts';
import type { Deployment, ServingSettings } from '../core/serving/hardware.ts';
import { EngineMetrics } from './metrics.ts';
import { EmulatedEngine } from './service.ts';

/** What the emulator itself knows of one request: its own clock at the arrival and at every write, in ms. */
export interface RequestTrace {
  readonly acceptedMs: number;
  readonly writesMs: number[];
}

export interface EmulatorOptions {
  readonly deployment: Deployment;
  readonly settings: ServingSettings;
  readonly model: string;
  /** Keeps the trace of every request for `/emulator/trace`: the truth that load generators are measured against. */
  readonly trace: boolean;
}

const content = z.union([
  z.string(),
  z
    .array(z.object({ text: z.string().default('') }))
    .transform((parts) => parts.map(({ text }) => text).join(' ')),
]);
const completionRequest = z.object({
  model: z.string().nullish(),
  prompt: z.union([z.string(), z.array(z.string()).transform((all) => all.join(' '))]).nullish(),
  messages: z.array(z.object({ content })).nullish(),
  max_tokens: z.number().int().min(1).nullish(),
  max_completion_tokens: z.number().int().min(1).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
});

type CompletionRequest = z.infer<typeof completionRequest>;

/** About one token a word, as synthetic prompts have it. */
function countTokens(text: string): number {
  let tokens = 1;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) === 32) tokens++;
  return tokens;
}

const words = [' the', ' of', ' a', ' and', ' to', ' in', ' is', ' that'];
const wordAt = (index: number): string => words[index % words.length] as string;

/** In one line, as a client shows it. */
function reasonOf(error: unknown): string {
  if (!(error instanceof z.ZodError)) return error instanceof Error ? error.message : String(error);
  return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function answerJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

function answerError(response: ServerResponse, code: number, message: string): void {
  const type = code === 404 ? 'NotFoundError' : 'BadRequestError';
  answerJson(response, code, { error: { message, type, param: null, code } });
}

/** An OpenAI-compatible server that behaves like `vllm serve`, at the speed of the model in core/serving. */
export class EmulatorServer {
  readonly #options: EmulatorOptions;
  readonly #engine: EmulatedEngine;
  readonly #metrics: EngineMetrics;
  readonly #traces: RequestTrace[] = [];
  readonly #server: Server;
  #completions = 0;

  /** @throws RangeError for settings that cannot start */
  constructor(options: EmulatorOptions) {
    this.#options = options;
    this.#engine = new EmulatedEngine(options.deployment, options.settings);
    this.#metrics = new EngineMetrics(this.#engine.set, options.settings, options.model);
    this.#server = createServer((request, response) => {
      this.#route(request, response).catch((error: unknown) => {
        if (!response.headersSent) answerError(response, 500, String(error));
        response.destroy();
      });
    });
    this.#server.keepAliveTimeout = 60_000;
  }

  async listen(port: number, host: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => resolve());
    });
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  async close(): Promise<void> {
    this.#engine.stop();
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const acceptedMs = performance.now();
    const path = request.url?.replace(/\?.*$/, '') ?? '/';
    const { model, settings } = this.#options;
    switch (`${request.method ?? 'GET'} ${path}`) {
      case 'GET /health':
        response.end();
        return;
      case 'GET /version':
        answerJson(response, 200, { version: `emulator ${version}` });
        return;
      case 'GET /v1/models': {
        const entry = {
          id: model,
          object: 'model',
          owned_by: 'emulator',
          max_model_len: settings.max_model_len,
        };
        answerJson(response, 200, { object: 'list', data: [entry] });
        return;
      }
      case 'GET /metrics': {
        const { type, body } = await this.#metrics.text();
        response.writeHead(200, { 'content-type': type });
        response.end(body);
        return;
      }
      case 'GET /emulator/trace':
        answerJson(response, 200, this.#traces);
        return;
      case 'POST /v1/completions':
        return this.#complete(request, response, acceptedMs, false);
      case 'POST /v1/chat/completions':
        return this.#complete(request, response, acceptedMs, true);
      default:
        answerJson(response, 404, { detail: 'Not Found' });
    }
  }

  async #complete(
    request: IncomingMessage,
    response: ServerResponse,
    acceptedMs: number,
    chat: boolean,
  ): Promise<void> {
    let wanted: CompletionRequest;
    try {
      wanted = completionRequest.parse(JSON.parse(await bodyOf(request)));
    } catch (error) {
      answerError(response, 400, reasonOf(error));
      return;
    }
    const { model } = this.#options;
    if (wanted.model !== undefined && wanted.model !== null && wanted.model !== model) {
      answerError(response, 404, `The model \`${wanted.model}\` does not exist.`);
      return;
    }
    const prompt = chat ? wanted.messages?.map(({ content }) => content).join(' ') : wanted.prompt;
    if (prompt === undefined || prompt === null) {
      answerError(response, 400, `${chat ? 'messages' : 'prompt'} is missing`);
      return;
    }
    const promptTokens = countTokens(prompt);
    const outputTokens = wanted.max_tokens ?? wanted.max_completion_tokens ?? 16;
    const { max_model_len: limit } = this.#options.settings;
    if (promptTokens + outputTokens > limit) {
      const message = `This model's maximum context length is ${limit} tokens. However, you requested ${promptTokens + outputTokens} tokens (${promptTokens} in the messages, ${outputTokens} in the completion).`;
      answerError(response, 400, message);
      return;
    }
    this.#generate(response, { acceptedMs, writesMs: [] }, { wanted, chat, promptTokens, outputTokens });
  }

  #generate(
    response: ServerResponse,
    trace: RequestTrace,
    ask: { wanted: CompletionRequest; chat: boolean; promptTokens: number; outputTokens: number },
  ): void {
    const { wanted, chat, promptTokens, outputTokens } = ask;
    const id = `${chat ? 'chatcmpl' : 'cmpl'}-${this.#completions++}`;
    const object = chat ? 'chat.completion' : 'text_completion';
    const created = 0;
    const head = {
      id,
      object: wanted.stream === true && chat ? `${object}.chunk` : object,
      created,
      model: this.#options.model,
    };
    const usage = {
      prompt_tokens: promptTokens,
      completion_tokens: outputTokens,
      total_tokens: promptTokens + outputTokens,
    };
    const prefix = `data: ${JSON.stringify(head).slice(0, -1)},"choices":[{"index":0,`;
    const text: string[] = [];
    let firstMs: number | undefined;
    let ended = false;
    if (this.#options.trace) this.#traces.push(trace);
    if (wanted.stream === true)
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    const giveUp = this.#engine.submit(promptTokens, outputTokens, {
      token: (index) => {
        const now = performance.now();
        firstMs ??= now;
        if (this.#options.trace) trace.writesMs.push(now);
        const word = wordAt(index);
        if (wanted.stream !== true) {
          text.push(word);
          return;
        }
        const finish = index === outputTokens - 1 ? '"length"' : 'null';
        const choice = chat ? `"delta":{"content":"${word}"}` : `"text":"${word}"`;
        response.write(`${prefix}${choice},"logprobs":null,"finish_reason":${finish}}]}\n\n`);
      },
      end: () => {
        ended = true;
        const now = performance.now();
        const started = trace.acceptedMs;
        this.#metrics.finished(((firstMs ?? now) - started) / 1000, (now - started) / 1000, outputTokens);
        if (wanted.stream === true) {
          const last =
            wanted.stream_options?.include_usage === true
              ? `data: ${JSON.stringify({ ...head, choices: [], usage })}\n\n`
              : '';
          response.end(`${last}data: [DONE]\n\n`);
          return;
        }
        const content = text.join('');
        const choice = chat ? { message: { role: 'assistant', content } } : { text: content };
        answerJson(response, 200, {
          ...head,
          choices: [{ index: 0, ...choice, finish_reason: 'length' }],
          usage,
        });
      },
    });
    response.on('close', () => {
      if (!ended) giveUp();
    });
  }
}
