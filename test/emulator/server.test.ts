import { spawn } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { settingsOf } from '../../src/core/serving/params.ts';
import { presets } from '../../src/core/serving/presets.ts';
import { emulatorCommand } from '../../src/emulator/command.ts';
import { EmulatorServer } from '../../src/emulator/server.ts';

const preset = presets['small-8'];

describe('the emulated server', () => {
  const server = new EmulatorServer({
    deployment: preset.deployment,
    settings: settingsOf(preset, { MAX_NUM_SEQS: 16 }),
    model: 'sim',
    trace: true,
  });
  let base = '';
  beforeAll(async () => {
    await server.listen(0, '127.0.0.1');
    base = `http://127.0.0.1:${server.port}`;
  });
  afterAll(async () => server.close());

  const post = async (path: string, body: unknown) =>
    fetch(`${base}${path}`, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) });

  test('says that it is healthy and what it serves', async () => {
    expect((await fetch(`${base}/health`)).status).toBe(200);
    expect(await (await fetch(`${base}/v1/models`)).json()).toMatchObject({
      data: [{ id: 'sim', max_model_len: 32_768 }],
    });
  });

  test('streams tokens, then usage, then [DONE]', async () => {
    const answer = await post('/v1/completions', {
      prompt: 'one two three',
      max_tokens: 4,
      stream: true,
      stream_options: { include_usage: true },
    });
    expect(answer.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const events = (await answer.text())
      .trim()
      .split('\n\n')
      .map((event) => event.replace(/^data: /, ''));
    expect(events.at(-1)).toBe('[DONE]');
    const parsed = events
      .slice(0, -1)
      .map(
        (event) =>
          JSON.parse(event) as { choices: { text?: string; finish_reason: string | null }[]; usage?: object },
      );
    expect(parsed.slice(0, 4).map(({ choices }) => choices[0]?.finish_reason)).toEqual([
      null,
      null,
      null,
      'length',
    ]);
    expect(parsed[4]).toMatchObject({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 4 } });
  });

  test('answers chats, streamed and whole', async () => {
    const messages = [{ role: 'user', content: 'hello there' }];
    const whole = (await (await post('/v1/chat/completions', { messages, max_tokens: 3 })).json()) as object;
    expect(whole).toMatchObject({
      object: 'chat.completion',
      choices: [{ message: { content: ' the of a' }, finish_reason: 'length' }],
      usage: { total_tokens: 5 },
    });
    const streamed = await (
      await post('/v1/chat/completions', { messages, max_tokens: 2, stream: true })
    ).text();
    expect(streamed.match(/"delta":\{"content":/g)).toHaveLength(2);
    expect(streamed).not.toContain('"usage"');
  });

  test('takes what clients send: lists of parts, several prompts, nulls', async () => {
    const bodies: [string, object][] = [
      ['/v1/chat/completions', { messages: [{ content: [{ type: 'text', text: 'a b' }] }], max_tokens: 2 }],
      ['/v1/completions', { prompt: ['a', 'b'], max_tokens: 2, model: 'sim' }],
      ['/v1/completions', { prompt: 'a', stream_options: null, max_tokens: null, stream: null }],
    ];
    for (const [path, body] of bodies) expect((await post(path, body)).status).toBe(200);
  });

  test.each([
    ['/v1/completions', { prompt: 'x', model: 'nope' }, 404, /The model `nope` does not exist/],
    ['/v1/completions', { prompt: 'x', max_tokens: 0 }, 400, /max_tokens: /],
    ['/v1/completions', 'no json', 400, /JSON/],
    ['/v1/completions', { messages: [] }, 400, /prompt is missing/],
    ['/v1/completions', { prompt: 'x', max_tokens: 40_000 }, 400, /maximum context length is 32768 tokens/],
    ['/v1/nothing', {}, 404, /Not Found/],
  ])('refuses %s %j with %i', async (path, body, status, message) => {
    const answer = await post(path, body);
    expect(answer.status).toBe(status);
    expect(await answer.text()).toMatch(message);
  });

  test("tells its metrics under vLLM's names", async () => {
    const text = await (await fetch(`${base}/metrics`)).text();
    for (const name of [
      'vllm:num_requests_running',
      'vllm:num_requests_waiting',
      'vllm:kv_cache_usage_perc',
      'vllm:num_preemptions_total',
      'vllm:generation_tokens_total',
      'vllm:request_success_total',
      'vllm:time_to_first_token_seconds_bucket',
      'vllm:inter_token_latency_seconds_count',
      'vllm:e2e_request_latency_seconds_sum',
      'vllm:cache_config_info',
    ]) {
      expect(text).toContain(name);
    }
    expect(text).toMatch(/vllm:num_requests_running\{[^}]*\} 0\n/);
  });

  test('a client that goes away frees its place', async () => {
    const stop = new AbortController();
    const going = fetch(`${base}/v1/completions`, {
      method: 'POST',
      body: JSON.stringify({ prompt: 'x', max_tokens: 5000, stream: true }),
      signal: stop.signal,
    });
    await (await going).body?.getReader().read();
    stop.abort();
    for (let i = 0; i < 100; i++) {
      const text = await (await fetch(`${base}/metrics`)).text();
      if (/vllm:num_requests_running\{[^}]*\} 0\n/.test(text)) return;
      await new Promise((wait) => setTimeout(wait, 20));
    }
    expect.unreachable('it still runs');
  });
});

describe('the emulator as a process', () => {
  const run = async (args: readonly string[], until?: RegExp) => {
    const [command, script] = emulatorCommand();
    const child = spawn(command, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (until?.test(said) === true) child.kill('SIGTERM');
    });
    const code = await new Promise<number | null>((done) => child.on('close', done));
    return { code, said };
  };

  test('starts with the lines of vLLM, and ends with 0 when it is told to', async () => {
    const { code, said } = await run(['--port', '0', '--preset', 'demo'], /Application startup complete/);
    expect(code).toBe(0);
    expect(said).toMatch(
      /GPU KV cache size: [\d,]+ tokens\n.*Maximum concurrency for 32,768 tokens per request: \d/,
    );
  });

  test('a configuration that does not fit ends with 1 and the arithmetic', async () => {
    const set = ['TENSOR_PARALLEL_SIZE=8', 'GPU_MEMORY_UTILIZATION=0.87'].flatMap((pair) => ['--set', pair]);
    const { code, said } = await run(['--port', '0', '--preset', 'demo', ...set]);
    expect(code).toBe(1);
    expect(said).toMatch(/ValueError: To serve at least one request with the model's max seq len/);
  });
});
