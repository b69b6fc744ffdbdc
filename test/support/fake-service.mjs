#!/usr/bin/env node
// A minimal OpenAI-compatible server whose speed depends on its parameters: what the tests tune.
import { appendFileSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const configPath = process.argv[process.argv.indexOf('--config') + 1];
const config = configPath === undefined ? {} : JSON.parse(readFileSync(configPath, 'utf8'));
const env = { ...config.env };
const [host, port] = (process.env.FAKE_LISTEN ?? '127.0.0.1:8000').split(':');
const role = process.env.FAKE_ROLE ?? 'master';

const note = (event, more = {}) => {
  if (process.env.FAKE_WITNESS === undefined) return;
  const about = {
    event,
    role,
    argv: process.argv.slice(2),
    pid: process.pid,
    at: Date.now(),
    config,
    env: process.env,
    ...more,
  };
  appendFileSync(process.env.FAKE_WITNESS, `${JSON.stringify(about)}\n`);
};
note('start');

if (role === 'worker') {
  setInterval(() => undefined, 1000);
} else {
  const seqs = Number(env.MAX_NUM_SEQS ?? 64);
  const oomAbove = Number(process.env.FAKE_OOM_ABOVE ?? Infinity);
  if (seqs > oomAbove) {
    console.log(`torch.OutOfMemoryError: CUDA out of memory. Tried to allocate ${seqs} GiB`);
    process.exit(1);
  }
  // Tokens a second grow with the batch and saturate; TPOT grows with the batch.
  const tpotMs = Number(process.env.FAKE_TPOT_MS ?? 1) * (1 + seqs / 128);
  let active = 0;
  const waiting = [];
  const enter = async () => {
    if (active < seqs) active++;
    else await new Promise((resolve) => waiting.push(resolve));
  };
  const leave = () => {
    const next = waiting.shift();
    if (next === undefined) active--;
    else next();
  };
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const server = createServer(async (request, response) => {
    if (request.url === '/health') return void response.end('ok');
    if (request.url === '/v1/models') return void response.end(JSON.stringify({ data: [{ id: 'fake' }] }));
    if (!/^\/v1\/(chat\/)?completions$/.test(request.url ?? '')) {
      response.statusCode = 404;
      return void response.end('{"error":"no such path"}');
    }
    if (seqs > Number(process.env.FAKE_CRASH_ABOVE ?? Infinity)) process.exit(1);
    let body = '';
    for await (const chunk of request) body += chunk;
    const { max_tokens: n, prompt } = JSON.parse(body);
    await enter();
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (let i = 0; i < n; i++) {
      await sleep(tpotMs);
      const last = i === n - 1;
      response.write(
        `data: ${JSON.stringify({ choices: [{ text: ' x', finish_reason: last ? 'length' : null }] })}\n\n`,
      );
    }
    const usage = { prompt_tokens: String(prompt).split(' ').length, completion_tokens: n };
    response.end(`data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`);
    leave();
  });
  setTimeout(() => server.listen(Number(port), host), Number(process.env.FAKE_START_MS ?? 0));
  process.on('SIGTERM', () => {
    note('stop');
    process.exit(0);
  });
}
