import type { Judged } from '../../src/core/fitness/fitness.ts';
import type { BenchmarkContext, BenchmarkResult, ToolHost } from '../../src/parallel/ports.ts';
import { LocalExecutor } from '../../src/remote/remote-executor.ts';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { systemClock } from '../../src/base/clock.ts';
import { BenchmarkExecutionError, ConfigurationError } from '../../src/base/errors.ts';
import { createRng } from '../../src/base/rng.ts';
import { groupId, ms, trialId } from '../../src/base/units.ts';
import { BuiltinBenchmark } from '../../src/benchmarks/builtin/builtin.ts';
import type { LoadJob } from '../../src/benchmarks/builtin/load.ts';
import { makePrompts } from '../../src/benchmarks/builtin/prompts.ts';
import { summarizeLoad } from '../../src/benchmarks/builtin/metrics.ts';
import { builtinConfig } from '../../src/benchmarks/builtin/config.ts';

const benchmark = new BuiltinBenchmark();
afterAll(async () => benchmark[Symbol.asyncDispose]());

/** POSTs that were no requests for tokens. */
const resets: string[] = [];

interface MeasureOptions {
  readonly metrics?: (read: number) => string;
  readonly signal?: AbortSignal;
  readonly isHopeless?: BenchmarkContext['isHopeless'];
  readonly canary?: boolean;
  readonly progress?: BenchmarkContext['progress'];
  readonly toolHost?: Partial<ToolHost>;
  readonly baseUrl?: string;
}
type Measure = (
  listener: RequestListener,
  table?: object,
  params?: Record<string, number>,
  options?: MeasureOptions,
) => Promise<BenchmarkResult>;

const places = ['controller', 'master'] as const;
const elsewhere = mkdtempSync(join(tmpdir(), 'load-host-'));
afterAll(() => rmSync(elsewhere, { recursive: true }));
const master: ToolHost = {
  executor: new LocalExecutor(),
  directory: join(elsewhere, 'bench'),
  cwd: elsewhere,
  env: {},
  outlives: false,
  wrap: (command) => command,
  wrapOnHost: (command) => command,
};

const measureOn =
  (place: (typeof places)[number], by = benchmark): Measure =>
  async (listener, table = {}, params = {}, options = {}) => {
    const { metrics, signal = never, isHopeless, canary = false, progress = () => undefined } = options;
    let reads = 0;
    const server = createServer((request, response) => {
      if (request.method === 'POST' && request.url?.startsWith('/v1/') === true)
        return listener(request, response);
      if (request.method === 'POST') resets.push(request.url ?? '');
      response.statusCode = metrics === undefined || request.url !== '/metrics' ? 404 : 200;
      return response.end(metrics?.(reads++) ?? 'no such path');
    }).listen(0, '127.0.0.1');
    await new Promise((ready) => server.once('listening', ready));
    const { port } = server.address() as { port: number };
    const config = builtinConfig.parse({
      num_prompts: 20,
      num_warmups: 0,
      input_len: 12,
      output_len: 5,
      timeout: 20,
      run_on: place,
      ...table,
    });
    const context = {
      signal,
      clock: systemClock,
      events: { emit: () => undefined },
      trialId: trialId(0),
      groupId: groupId(0),
      attempt: 0,
      runId: 'r',
      seed: 1,
      timeout: ms(60_000),
      sampleSize: undefined,
      isHopeless,
      canary,
      toolHost: async () =>
        place === 'controller'
          ? Promise.reject(new Error('it needs none'))
          : Promise.resolve({ ...master, ...options.toolHost }),
      progress,
      keep: async () => Promise.resolve(),
    };
    try {
      return await by.run(
        config,
        { baseUrl: options.baseUrl ?? `http://127.0.0.1:${port}`, model: 'm' },
        params,
        context,
      );
    } finally {
      server.closeAllConnections();
      server.close();
    }
  };

/** Streams `chunks` events that hold `perEvent` tokens each. */
const stream =
  (
    options: { usage?: boolean; delayMs?: number; seen?: string[]; perEvent?: number; done?: boolean } = {},
  ): RequestListener =>
  async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const { prompt, max_tokens: n } = JSON.parse(body) as { prompt: string; max_tokens: number };
    options.seen?.push(prompt);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (let i = 0; i < n; i += options.perEvent ?? 1) {
      await new Promise((next) => setTimeout(next, options.delayMs ?? 0));
      response.write(`data: ${JSON.stringify({ choices: [{ text: ' x', finish_reason: null }] })}\n\n`);
    }
    if (options.usage !== false)
      response.write(
        `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 9, completion_tokens: n } })}\n\n`,
      );
    response.end(options.done === false ? '' : 'data: [DONE]\n\n');
  };

describe('the built-in load generator on another machine', () => {
  const measure = measureOn('master');

  test('tells how far it is, takes the agent there once, and leaves nothing else', async () => {
    const told: [number, number][] = [];
    await measure(
      stream({ delayMs: 10 }),
      { num_prompts: 30, max_concurrency: 2, output_len: 20 },
      {},
      { progress: (done, total) => told.push([done, total]) },
    );
    expect(told.length).toBeGreaterThan(0);
    expect(told.every(([done, total]) => done > 0 && total === 30)).toBe(true);
    const [agent, ...more] = readdirSync(elsewhere);
    expect(agent).toMatch(/^load-agent-[0-9a-f]{12}\.mjs$/);
    expect(more).toEqual([]);
  });

  class Watched extends LocalExecutor {
    readonly written: string[] = [];

    override async writeFile(...[path, ...rest]: Parameters<LocalExecutor['writeFile']>): Promise<void> {
      this.written.push(path);
      await new Promise((later) => setTimeout(later, 300));
      await super.writeFile(path, ...rest);
    }
  }

  test('the agent is taken there once, and whoever asked first may give up', async () => {
    await using executor = new Watched();
    const on = (name: string) => ({ toolHost: { executor, directory: join(elsewhere, name) } });
    const stop = new AbortController();
    const first = measure(stream(), {}, {}, { ...on('a'), signal: stop.signal });
    const second = measure(stream(), {}, {}, on('b'));
    setTimeout(() => stop.abort(new Error('enough')), 100);
    await expect(first).rejects.toThrow('enough');
    expect((await second).performance.success_rate).toBe(1);
    expect(executor.written.filter((path) => path.endsWith('.mjs'))).toHaveLength(1);
  });

  test.each([
    ['nothing', ':', /it left no .*load\.json/],
    ['a torn answer', `printf '{"type"' >load.json`, /load\.json is not whole/],
    ['null', `echo null >load.json`, /no answer of the load generator/],
    ['an answer without a load', `echo '{"type":"made"}' >load.json`, /no answer of the load generator/],
  ])('%s in place of an answer is told, and measured again', async (_, body, says) => {
    const bin = mkdtempSync(join(tmpdir(), 'node-'));
    writeFileSync(join(bin, 'node'), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    const env = { PATH: `${bin}:${process.env['PATH']}` };
    await expect(measure(stream(), {}, {}, { toolHost: { env } })).rejects.toMatchObject({
      blame: 'benchmark',
      message: expect.stringMatching(says) as string,
    });
  });

  test('a service that is not reached from there is told so', async () => {
    const baseUrl = 'http://127.0.0.1:1';
    await expect(measure(stream(), {}, {}, { baseUrl })).rejects.toMatchObject({
      blame: 'operator',
      message: expect.stringContaining('every request to http://127.0.0.1:1 from master failed') as string,
      remedy: expect.stringContaining('check from master') as string,
    });
  });

  test('an agent that somebody has removed is brought again', async () => {
    await measure(stream());
    for (const name of readdirSync(elsewhere)) rmSync(join(elsewhere, name), { recursive: true });
    await expect(measure(stream())).rejects.toMatchObject({ blame: 'benchmark' });
    const { performance } = await measure(stream());
    expect(performance.success_rate).toBe(1);
  });

  test.each([
    [
      'no Node',
      'exec nosuchnode',
      /Install Node 20\.19 or newer on master, or set run_on = "controller"/,
      'operator',
    ],
    [
      'an old Node',
      'exec node --import "data:text/javascript,Object.defineProperty(process.versions,\'node\',{value:\'18.1.0\'})" "$@"',
      /Node 18\.1\.0 is too old/,
      'operator',
    ],
    ['an agent that dies', 'kill -9 $$', /signal|137/, 'benchmark'],
  ])('%s is told with a remedy', async (_, body, says, blame) => {
    const bin = mkdtempSync(join(tmpdir(), 'node-'));
    writeFileSync(join(bin, 'node'), `#!/bin/sh\nPATH=\${PATH#*:}\n${body}\n`, { mode: 0o755 });
    const env = { PATH: `${bin}:${process.env['PATH']}` };
    const failed: unknown = await measure(stream(), {}, {}, { toolHost: { env } }).catch(
      (error: unknown) => error,
    );
    expect(failed).toBeInstanceOf(BenchmarkExecutionError);
    const { message, remedy, blame: found } = failed as BenchmarkExecutionError;
    expect(`${message} ${remedy}`).toMatch(says);
    expect(found).toBe(blame);
  });
});

describe('the process of the load on this machine', () => {
  const agents = (): number[] =>
    readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8')
      .split(' ')
      .filter((pid) => pid !== '' && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('agent.mjs'))
      .map(Number);

  test.each(['SIGSEGV', 'SIGKILL'] as const)(
    'that ends by %s costs a measurement, and no more',
    async (name) => {
      await using local = new BuiltinBenchmark();
      const measure = measureOn('controller', local);
      const others = agents();
      await measure(stream());
      const its = agents().filter((pid) => !others.includes(pid));
      expect(its).toHaveLength(1);
      const doomed = measure(stream({ delayMs: 50 }), { num_prompts: 100, output_len: 50 });
      setTimeout(() => its.forEach((pid) => process.kill(pid, name)), 200);
      await expect(doomed).rejects.toMatchObject({
        blame: 'benchmark',
        message: expect.stringContaining(`its process was ended by ${name}`) as string,
      });
      const { performance } = await measure(stream());
      expect(performance.success_rate).toBe(1);
    },
  );

  test('that does not stop in time costs only the measurement that was to stop', async () => {
    await using local = new BuiltinBenchmark();
    const measure = measureOn('controller', local);
    const others = agents();
    const stop = new AbortController();
    const stopped = measure(stream({ delayMs: 20 }), { num_prompts: 200 }, {}, { signal: stop.signal });
    const goesOn = measure(stream({ delayMs: 20 }), { num_prompts: 400 });
    await new Promise((later) => setTimeout(later, 500));
    const [its = 0] = agents().filter((pid) => !others.includes(pid));
    process.kill(its, 'SIGSTOP');
    setTimeout(() => process.kill(its, 'SIGCONT'), 5000);
    stop.abort(new Error('enough'));
    await expect(stopped).rejects.toThrow('enough');
    expect((await goesOn).performance.success_rate).toBe(1);
  });

  test('serves several measurements at a time, and ends with the last', async () => {
    const local = new BuiltinBenchmark();
    const measure = measureOn('controller', local);
    const before = agents().length;
    const all = await Promise.all(
      [1, 2, 3].map(async (n) => measure(stream({ delayMs: 5 }), { num_prompts: 10 * n })),
    );
    expect(all.map(({ numPrompts }) => numPrompts)).toEqual([10, 20, 30]);
    expect(all.every(({ performance }) => performance.success_rate === 1)).toBe(true);
    expect(agents()).toHaveLength(before + 1);
    await local[Symbol.asyncDispose]();
    expect(agents()).toHaveLength(before);
  });
});

describe.each(places)('the built-in load generator on the %s', (place) => {
  const measure = measureOn(place);
  test('measures TTFT with the first token and TPOT without it', async () => {
    const { performance, percentiles, raw } = await measure(stream({ delayMs: 20 }), { max_concurrency: 4 });
    expect(performance.success_rate).toBe(1);
    expect(performance.time_to_first_token! * 1000).toBeGreaterThan(18);
    expect(performance.time_to_first_token! * 1000).toBeLessThan(60);
    expect(performance.time_per_output_token! * 1000).toBeGreaterThan(18);
    expect(performance.time_per_output_token! * 1000).toBeLessThan(40);
    expect(Object.keys(percentiles)).toEqual(['ttft_ms', 'tpot_ms', 'itl_ms', 'e2el_ms']);
    const document = JSON.parse(raw[0]!.content) as Record<string, number>;
    expect(document).toMatchObject({
      completed: 20,
      failed: 0,
      total_output_tokens: 100,
      max_concurrency: 4,
      request_rate: 'inf',
    });
    expect(document['p99_ttft_ms']).toBe(percentiles.ttft_ms?.p99);
  });

  /** A machine may be too slow for the generator to be punctual: then, and only then, the result says so. */
  const ofPunctuality = ({ raw }: Awaited<ReturnType<typeof measure>>): unknown[] => {
    const { generator } = JSON.parse(raw[0]!.content) as { generator: { event_loop_delay_p99_ms: number } };
    return generator.event_loop_delay_p99_ms > 20 ? [expect.stringMatching(/^distorted: /)] : [];
  };

  test('takes tokens from usage; counting events is a flagged fallback', async () => {
    const several = await measure(stream({ perEvent: 5 }));
    expect(JSON.parse(several.raw[0]!.content)).toMatchObject({ total_output_tokens: 100 });
    expect(several.flags).toEqual(ofPunctuality(several));
    const counted = await measure(stream({ usage: false }));
    expect(JSON.parse(counted.raw[0]!.content)).toMatchObject({ total_output_tokens: 100 });
    expect(counted.flags).toEqual([
      'tokens counted from events: no usage reported',
      ...ofPunctuality(counted),
    ]);
  });

  test('no prompt is like another one', async () => {
    const seen: string[] = [];
    await measure(stream({ seen }), { num_warmups: 5 });
    expect(new Set(seen.map((prompt) => prompt.split(' ')[0])).size).toBe(25);
  });

  test('caches are emptied before a measurement, unless that is not wanted', async () => {
    resets.length = 0;
    await measure(stream(), { reset_cache: false });
    expect(resets).toEqual([]);
    await measure(stream());
    expect(resets).toEqual(['/reset_prefix_cache', '/flush_cache']);
  });

  test('a conversation goes on with what was said, turn by turn', async () => {
    const seen: string[] = [];
    const { raw, performance, goodput } = await measure(stream({ seen }), {
      turns: 3,
      num_prompts: 4,
      goodput: 'ttft:10000 e2el:20000',
    });
    expect(seen).toHaveLength(12);
    const [first, ...later] = [...seen].sort((a, b) => a.length - b.length);
    expect(later.filter((prompt) => prompt.startsWith(first!))).toHaveLength(2);
    expect(JSON.parse(raw[0]!.content)).toMatchObject({ completed: 12, failed: 0 });
    expect(performance.success_rate).toBe(1);
    expect(goodput).toBeCloseTo(performance.throughput!, 6);
  });

  test('a limit that no request keeps makes no goodput; one that is no limit is refused', async () => {
    const { goodput } = await measure(stream(), { goodput: 'ttft:0.000001' });
    expect(goodput).toBe(0);
    await using benchmark = new BuiltinBenchmark();
    expect(() => benchmark.check(builtinConfig.parse({ goodput: 'ttft' }))).toThrow(/no limit of a request/);
  });

  test('a percentile may be scored in place of the mean', async () => {
    const { performance, percentiles } = await measure(stream(), { time_to_first_token: 'p99' });
    expect(performance.time_to_first_token! * 1000).toBeCloseTo(percentiles.ttft_ms!.p99!, 9);
  });

  test('fields of the search replace rate and concurrency', async () => {
    const began = performance.now();
    const { raw } = await measure(stream(), {}, { CONCURRENCY: 3, REQUESTRATE: 40 });
    expect(JSON.parse(raw[0]!.content)).toMatchObject({ max_concurrency: 3, request_rate: 40 });
    expect(performance.now() - began).toBeGreaterThan(200);
  });

  test('tells failures apart, and counts them', async () => {
    let n = 0;
    const good = stream();
    const { performance, raw } = await measure(
      (request, response) => {
        n++;
        if (n % 4 === 1) response.writeHead(503).end('busy');
        else if (n % 4 === 2) response.writeHead(200).end('data: [DONE]\n\n');
        else good(request, response);
      },
      { max_concurrency: 1 },
    );
    expect(performance.success_rate).toBe(0.5);
    expect(JSON.parse(raw[0]!.content)).toMatchObject({ failures: { http: 5, empty: 5 } });
  });

  test('a stream that breaks off is a failure', async () => {
    await expect(measure(stream({ done: false }))).rejects.toThrow(/broke off/);
  });

  test('a wrong path is for the user to mend', async () => {
    const failing = measure((_request, response) => response.writeHead(404).end('no such path'));
    await expect(failing).rejects.toMatchObject({
      blame: 'operator',
      message: expect.stringMatching(/404/) as string,
    });
  });

  test('a server that hangs ends at the wall clock', async () => {
    const began = performance.now();
    await expect(measure(() => undefined, { timeout: 0.5 })).rejects.toMatchObject({ blame: 'load' });
    expect(performance.now() - began).toBeLessThan(3000);
  });

  test('a server that falls silent is given up before the time is over; what came by then counts', async () => {
    let asked = 0;
    const answering = stream();
    const began = performance.now();
    const { performance: measured } = await measure(
      (request, response) => (++asked > 6 ? undefined : answering(request, response)),
      { stall_timeout: 0.4, max_concurrency: 3 },
    );
    expect(measured.success_rate).toBe(6 / 20);
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test('times without an end', async () => {
    const { performance: measured } = await measure(stream(), { timeout: Infinity, stall_timeout: Infinity });
    expect(measured.success_rate).toBe(1);
  });

  test('waiting for the next request is no silence', async () => {
    const answer = stream();
    const asked: number[] = [];
    const { performance: measured } = await measure(
      (request, response) => {
        asked.push(performance.now());
        return answer(request, response);
      },
      { stall_timeout: 0.5, request_rate: 0.8, num_prompts: 4 },
    );
    expect(measured.success_rate).toBe(1);
    const pauses = asked.slice(1).map((time, i) => time - asked[i]!);
    expect(Math.max(...pauses)).toBeGreaterThan(500);
  });

  test('after a measurement that was cut off, and after one that failed, the next one works', async () => {
    const stop = new AbortController();
    const cut = measure(
      stream({ delayMs: 50 }),
      { num_prompts: 200, threads: 2 },
      {},
      { signal: stop.signal },
    );
    setTimeout(() => stop.abort(new Error('enough')), 300);
    await expect(cut).rejects.toThrow('enough');
    await expect(measure((_request, response) => void response.writeHead(404).end())).rejects.toThrow(/404/);
    const { performance } = await measure(stream(), { threads: 2 });
    expect(performance.success_rate).toBe(1);
  });

  test('a measurement that nothing can save is ended, with what it could have come to at best', async () => {
    const slow = { num_prompts: 40, max_concurrency: 4, output_len: 60, threads: 2 };
    const seen: Judged[] = [];
    const asked: string[] = [];
    let askedWhenHopeless: number | undefined;
    const result = await measure(
      stream({ delayMs: 15, seen: asked }),
      slow,
      {},
      {
        isHopeless: (bounds) => {
          seen.push(bounds);
          const isHopeless = (bounds.generate_speed ?? 0) < 2000;
          if (isHopeless) askedWhenHopeless ??= asked.length;
          return isHopeless;
        },
      },
    );
    // Ended at once, whatever the machine takes for it: one more round was under way at most.
    expect(asked.length).toBeLessThan(slow.num_prompts);
    expect(asked.length - askedWhenHopeless!).toBeLessThanOrEqual(slow.max_concurrency);
    expect(result.censored?.running.generate_speed).toBeLessThan(result.performance.generate_speed!);
    expect(result.flags[0]).toContain('ended early');
    const last = seen.at(-1)!;
    expect(result.performance.generate_speed).toBe(last.generate_speed);
    expect(last.time_per_output_token).toBeLessThan(0.03);
    expect(last.success_rate).toBe(1);
    const { performance: next } = await measure(stream(), { threads: 2 });
    expect(next.success_rate).toBe(1);
  });

  test('says what the workload was really like, and asks its questions where that is wanted', async () => {
    const { traits, canary } = await measure(stream({}), { output_len: 7 });
    expect(traits).toEqual({ output_tokens: 7 });
    expect(canary).toBeUndefined();
    const seen: string[] = [];
    const asked = await measure(stream({ seen }), {}, {}, { canary: true });
    expect(asked.canary).toHaveLength(20);
    expect(new Set(asked.canary)).toEqual(new Set([' x'.repeat(16)]));
    expect(seen.slice(0, 20)).toContain('The capital of France is');
    const deaf: RequestListener = (_request, response) => void response.writeHead(500).end();
    await expect(measure(deaf, {}, {}, { canary: true })).rejects.toThrow('HTTP 500');
  });

  test('several threads share the requests and the concurrency', async () => {
    let [active, peak] = [0, 0];
    const seen: string[] = [];
    const counted = stream({ delayMs: 5, seen });
    const listener: RequestListener = (request, response) => {
      peak = Math.max(peak, ++active);
      response.on('close', () => active--);
      return counted(request, response);
    };
    const { performance, raw } = await measure(listener, { threads: 3, max_concurrency: 7, num_prompts: 40 });
    const document = JSON.parse(raw[0]!.content) as Record<string, unknown>;
    expect(document).toMatchObject({ completed: 40, generator: { threads: 3 }, total_output_tokens: 200 });
    expect(performance.success_rate).toBe(1);
    expect(new Set(seen).size).toBe(40);
    expect(peak).toBeLessThanOrEqual(7);
    expect(document['max_concurrent_requests']).toBe(7);
  });

  test("keeps what the engine's own metrics say of the measurement", async () => {
    const metrics = (read: number): string =>
      `# HELP x\nvllm:num_preemptions_total{engine="0"} ${3 + read * 4}\nvllm:num_preemptions_total{engine="1"} 1\n` +
      `vllm:prefix_cache_queries_total ${100 + 50 * read}\nvllm:prefix_cache_hits_total ${10 + 5 * read}\n`;
    const { raw } = await measure(stream(), {}, {}, { metrics });
    expect((JSON.parse(raw[0]!.content) as { server_metrics: object }).server_metrics).toEqual({
      preemptions: 4,
      prefix_cache_hit_ratio: 0.1,
    });
  });

  test('speaks to chats', async () => {
    const bodies: { messages?: { content: string }[] }[] = [];
    const chat = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      let body = '';
      for await (const chunk of request) body += String(chunk);
      bodies.push(JSON.parse(body) as (typeof bodies)[number]);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const event = (value: object): void => void response.write(`data: ${JSON.stringify(value)}\n\n`);
      event({ choices: [{ delta: { role: 'assistant' }, finish_reason: null }] });
      event({ choices: [{ delta: { reasoning_content: 'hm' }, finish_reason: null }] });
      event({ choices: [{ delta: { content: 'yes' }, finish_reason: 'stop' }] });
      event({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 2 } });
      response.end('data: [DONE]\n\n');
    };
    const { performance, raw } = await measure((request, response) => void chat(request, response), {
      endpoint: 'chat',
    });
    expect(performance.success_rate).toBe(1);
    expect(JSON.parse(raw[0]!.content)).toMatchObject({
      total_output_tokens: 40,
      endpoint_type: 'openai-chat',
    });
    expect(bodies[0]?.messages?.[0]?.content).toMatch(/\w+ \w+/);
  });
});

describe('what the built-in load generator is asked and answers', () => {
  test('a measurement by a generator that was late is marked', () => {
    const job = { baseUrl: '', endpoint: 'chat', prompts: [{}], maxConcurrency: 1 } as unknown as LoadJob;
    const outcome = {
      ok: true,
      ttftMs: 1,
      e2elMs: 2,
      itlsMs: [],
      inputTokens: 1,
      outputTokens: 2,
      estimated: false,
      finish: undefined,
    } as const;
    const load = {
      model: 'm',
      outcomes: [outcome],
      beganMs: 0,
      endedMs: 10,
      peakConcurrency: 1,
      loopDelayP99Ms: 25,
    };
    const about = { date: '', server: {}, threads: 1 };
    const config = builtinConfig.parse({});
    expect(summarizeLoad(job, config, load, about).flags).toEqual([
      'distorted: the generator was 25 ms late (p99)',
    ]);
    expect(summarizeLoad(job, config, { ...load, loopDelayP99Ms: 15 }, about).flags).toEqual([]);
  });

  test.each([
    ['lines.jsonl', '{"prompt":"alpha","output_len":3}\n{"prompt":"beta","max_tokens":4}\n\n', [3, 4]],
    [
      'sharegpt.json',
      JSON.stringify([
        { conversations: [{ value: 'alpha' }, { value: 'one two three four five six' }] },
        { conversations: [{ value: 'a question that nobody answered' }] },
        { conversations: [{ value: 'beta' }, { value: 'yes' }] },
      ]),
      [6, 4],
    ],
  ])('takes its prompts from %s', (name, content, lengths) => {
    const path = join(mkdtempSync(join(tmpdir(), 'optimizer-dataset-')), name);
    writeFileSync(path, content);
    const prompts = makePrompts(builtinConfig.parse({ dataset_path: path }), 40, createRng(1));
    expect(new Set(prompts.map(({ text }) => text.split(' ')[1]))).toEqual(new Set(['alpha', 'beta']));
    for (const { text, maxTokens } of prompts)
      expect(maxTokens).toBe(lengths[text.endsWith('alpha') ? 0 : 1]);
    expect(new Set(prompts.map(({ text }) => text)).size).toBe(40);
  });

  test.each([
    ['null.json', '[null]', /entry 0/],
    ['object.json', '{"a":1}', /it is no list/],
    ['turns.json', '[{"conversations":5}]', /entry 0: conversations/],
    ['torn.jsonl', '{"prompt":"a"}\n\n{"prompt":', /line 3/],
    ['zero.jsonl', '{"prompt":"a"}\n{"prompt":"b","output_len":0}\n', /line 2: output_len/],
    ['half.jsonl', '{"prompt":"b","max_tokens":1.5}\n', /line 1: max_tokens/],
    ['empty.jsonl', '\n', /no prompts/],
  ])('refuses %s before anything is started, with the place', (name, content, message) => {
    const path = join(mkdtempSync(join(tmpdir(), 'optimizer-dataset-')), name);
    writeFileSync(path, content);
    const config = builtinConfig.parse({ dataset_path: path });
    expect(() => benchmark.check(config)).toThrow(ConfigurationError);
    expect(() => benchmark.check(config)).toThrow(message);
  });

  test('takes the first question of a person that was answered', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'optimizer-dataset-')), 'gpt-first.json');
    const turns = [
      { from: 'gpt', value: 'welcome' },
      { from: 'human', value: 'why' },
      { from: 'gpt', value: 'because it is so' },
    ];
    writeFileSync(path, JSON.stringify([{ conversations: turns }]));
    const [prompt] = makePrompts(builtinConfig.parse({ dataset_path: path }), 1, createRng(1));
    expect(prompt).toMatchObject({ text: expect.stringMatching(/ why$/) as string, maxTokens: 4 });
  });

  test('draws lengths from a distribution, within its bounds', () => {
    const table = { input_len: { mean: 50, std: 30, min: 20, max: 70 }, output_len: { mean: 9, std: 0 } };
    const prompts = makePrompts(builtinConfig.parse(table), 300, createRng(2));
    const lengths = prompts.map(({ text }) => text.split(' ').length);
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(17);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(70);
    expect(new Set(lengths).size).toBeGreaterThan(20);
    expect(new Set(prompts.map(({ maxTokens }) => maxTokens))).toEqual(new Set([9]));
  });
});
