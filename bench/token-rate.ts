import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { never } from '../src/base/cancellation.ts';
import { systemClock } from '../src/base/clock.ts';
import { groupId, ms, trialId } from '../src/base/units.ts';
import { BuiltinBenchmark } from '../src/benchmarks/builtin/builtin.ts';
import { builtinConfig } from '../src/benchmarks/builtin/config.ts';

/**
 * How many streamed tokens a second one thread of the load generator takes in, beside a loop of `fetch` that only counts
 * events, and a socket that only counts bytes: the floor.
 */

const tokens = 400;

interface Row {
  readonly case: string;
  readonly reader: string;
  readonly streams: number;
  readonly tokens_s: number;
  readonly of_raw: number;
}

const body = JSON.stringify({ model: 'm', prompt: 'x', stream: true, max_tokens: tokens });

async function inParallel(streams: number, requests: number, one: () => Promise<void>): Promise<void> {
  let left = requests;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await one();
  };
  await Promise.all(Array.from({ length: streams }, lane));
}

async function raw(port: number, streams: number, requests: number): Promise<void> {
  const request = `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  await inParallel(streams, requests, async () => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.write(request);
    await new Promise<void>((done) => {
      socket.on('data', (data) => {
        if (data.includes('0\r\n\r\n', Math.max(0, data.length - 8))) done();
      });
    });
    socket.destroy();
  });
}

async function withFetch(port: number, streams: number, requests: number): Promise<void> {
  await inParallel(streams, requests, async () => {
    const response = await fetch(`http://127.0.0.1:${port}/v1/completions`, { method: 'POST', body });
    const decoder = new TextDecoder();
    let seen = 0;
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>)
      seen += decoder.decode(chunk, { stream: true }).split('\n\n').length - 1;
    if (seen < 2) throw new Error('no events');
  });
}

async function withGenerator(port: number, streams: number, requests: number): Promise<void> {
  await using benchmark = new BuiltinBenchmark();
  const load = { num_prompts: requests, num_warmups: 0, max_concurrency: streams, threads: 1 };
  const config = builtinConfig.parse({ ...load, input_len: 8, output_len: tokens, timeout: 120 });
  await benchmark.run(
    config,
    { baseUrl: `http://127.0.0.1:${port}`, model: 'm' },
    {},
    {
      ...{ signal: never, clock: systemClock, events: { emit: () => undefined } },
      ...{ trialId: trialId(0), groupId: groupId(0), attempt: 0, runId: 'bench', seed: 1 },
      ...{ timeout: ms(120_000), sampleSize: undefined },
      toolHost: async () => Promise.reject(new Error('it needs none')),
      progress: () => undefined,
      keep: async () => Promise.resolve(),
    },
  );
}

const readers = {
  'socket that counts bytes': raw,
  'fetch that counts events': withFetch,
  'load generator': withGenerator,
};

export async function tokenRate(short: boolean): Promise<Row[]> {
  const rows: Row[] = [];
  const tsx = resolve(import.meta.dirname, '../node_modules/.bin/tsx');
  for (const [name, perWrite] of [
    ['an event a write', 1],
    ['16 events a write', 16],
  ] as const) {
    const server = spawn(
      tsx,
      [join(import.meta.dirname, 'token-server.ts'), String(tokens), String(perWrite)],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    const [port] = (await once(createInterface(server.stdout), 'line')) as [string];
    const streams = 32;
    const requests = short ? 600 : 3000;
    let floor = 0;
    for (const [reader, read] of Object.entries(readers)) {
      await read(Number(port), streams, 100);
      const began = performance.now();
      await read(Number(port), streams, requests);
      const rate = (requests * tokens) / ((performance.now() - began) / 1000);
      if (reader.startsWith('socket')) floor = rate;
      rows.push({ case: name, reader, streams, tokens_s: Math.round(rate), of_raw: rate / floor });
    }
    server.stdin.end();
  }
  return rows;
}
