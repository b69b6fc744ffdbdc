#!/usr/bin/env node
// A minimal OpenAI-compatible server whose speed depends on its parameters: what the tests tune.
import { appendFileSync, existsSync, readFileSync, writeSync } from 'node:fs';
import { createHash } from 'node:crypto';
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
    began: performance.timeOrigin,
    at: Date.now(),
    config,
    env: process.env,
    ...more,
  };
  appendFileSync(process.env.FAKE_WITNESS, `${JSON.stringify(about)}\n`);
};

/** Whether this start is to go wrong: FAKE_FAULT says how, the others say for whom. */
const faulty = () => {
  const { FAKE_FAULT, FAKE_FAULT_ABOVE, FAKE_FAULT_GROUP, FAKE_FAULT_EVERY, GROUP_ID } = process.env;
  if (FAKE_FAULT === undefined) return false;
  if (FAKE_FAULT_ABOVE !== undefined && !(Number(env.MAX_NUM_SEQS) > Number(FAKE_FAULT_ABOVE))) return false;
  if (FAKE_FAULT_GROUP !== undefined && FAKE_FAULT_GROUP !== GROUP_ID) return false;
  if (FAKE_FAULT_EVERY === undefined) return true;
  const earlier = existsSync(process.env.FAKE_WITNESS)
    ? readFileSync(process.env.FAKE_WITNESS, 'utf8')
        .split('\n')
        .filter((line) => line.includes('"event":"start"') && line.includes(`"GROUP_ID":"${GROUP_ID}"`))
        .length
    : 0;
  return earlier % Number(FAKE_FAULT_EVERY) === 0;
};
/** One of many, each as likely as FAKE_CHAOS says, the same for the same seed, trial, group and start. */
const byChance = () => {
  const { FAKE_CHAOS, FAKE_SEED, OPTIMIZER_TRIAL_ID, GROUP_ID } = process.env;
  if (FAKE_CHAOS === undefined || OPTIMIZER_TRIAL_ID === '0') return undefined;
  const kinds = [
    'start-exit',
    'start-oom',
    'start-nccl',
    'start-killed',
    'load-exit',
    'load-nccl',
    'silent',
    'deaf',
  ];
  const digest = createHash('sha256').update(`${FAKE_SEED}/${OPTIMIZER_TRIAL_ID}/${GROUP_ID}`).digest();
  return kinds[Math.floor(digest.readUInt32BE() / 2 ** 32 / Number(FAKE_CHAOS))];
};
const fault = faulty() ? process.env.FAKE_FAULT : byChance();
const oomText = 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB';
const fail = (how) => {
  if (how === 'oom') console.log(oomText);
  if (how === 'nccl') console.log('RuntimeError: NCCL error: unhandled system error, connection refused');
  if (how === 'killed') process.kill(process.pid, 'SIGKILL');
  process.exit(1);
};
note('start', fault === undefined ? {} : { fault });
if (fault === 'flood') {
  const line = `${'x'.repeat(199)}\n`.repeat(5000);
  for (let i = 0; i < 100; i++) writeSync(2, line);
  for (let i = 0; i < 3; i++) writeSync(2, `${'y'.repeat(10_000_000)}\n`);
  writeSync(2, Buffer.from([0x41, 0xff, 0xfe, 0x00, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 0xc3, 0x28, 0x42, 0x0a]));
  writeSync(2, 'the end of the flood\n');
  process.exit(1);
}
if (fault?.startsWith('start-')) fail(fault.slice('start-'.length));

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
  let open = 0;
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
    // Too much at the same time ends the service, as running out of memory under load does.
    if (++open > Number(process.env.FAKE_DIES_OF ?? Infinity)) {
      console.error('torch.OutOfMemoryError: CUDA out of memory.');
      process.exit(1);
    }
    response.on('close', () => open--);
    if (fault === 'silent') return;
    if (fault?.startsWith('load-')) fail(fault.slice('load-'.length));
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
  if (fault !== 'never')
    setTimeout(() => server.listen(Number(port), host), Number(process.env.FAKE_START_MS ?? 0));
  if (fault === 'never') setInterval(() => undefined, 1000);
  process.on('SIGTERM', () => {
    note('stop');
    if (process.env.FAKE_DEAF !== undefined || fault === 'deaf') return;
    process.exit(0);
  });
}
