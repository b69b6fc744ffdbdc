#!/usr/bin/env node
// An OpenAI-compatible server around llama.cpp in this process: sequences, batch size and threads are its knobs.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const { env } = JSON.parse(readFileSync(process.argv[process.argv.indexOf('--config') + 1], 'utf8'));
const module = join(process.env.LLM_MODULES, 'node_modules/node-llama-cpp/dist/index.js');
const { getLlama } = await import(pathToFileURL(module).href);

const [sequences, batchSize, threads] = [env.SEQUENCES, env.BATCH_SIZE, env.THREADS].map(Number);
console.log(`sequences ${sequences}, batch size ${batchSize}, threads ${threads}`);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
const model = await llama.loadModel({ modelPath: process.env.LLM_MODEL });
const context = await model.createContext({
  sequences,
  batchSize,
  threads: { ideal: threads, min: 1 },
  contextSize: 512,
});
const free = Array.from({ length: sequences }, () => context.getSequence());
const waiting = [];
console.log('the model is loaded');

const take = async () => free.pop() ?? new Promise((resolve) => waiting.push(resolve));
const give = (sequence) => {
  const next = waiting.shift();
  if (next === undefined) free.push(sequence);
  else next(sequence);
};

async function complete(request, response) {
  let body = '';
  for await (const chunk of request) body += chunk;
  const { prompt, max_tokens: limit = 16 } = JSON.parse(body);
  const sequence = await take();
  try {
    await sequence.clearHistory();
    const tokens = model.tokenize(prompt).slice(-256);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    let count = 0;
    for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
      if (response.destroyed) break;
      const last = ++count >= limit;
      const text = model.detokenize([token]) || '.';
      const choice = { index: 0, text, finish_reason: last ? 'length' : null };
      response.write(`data: ${JSON.stringify({ object: 'text_completion', choices: [choice] })}\n\n`);
      if (last) break;
    }
    const usage = {
      prompt_tokens: tokens.length,
      completion_tokens: count,
      total_tokens: tokens.length + count,
    };
    response.end(`data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`);
  } finally {
    give(sequence);
  }
}

const server = createServer((request, response) => {
  const { url = '', method } = request;
  if (url === '/health') return response.end('ok');
  if (url === '/v1/models') return response.end(JSON.stringify({ data: [{ id: 'random' }] }));
  if (url === '/v1/completions' && method === 'POST') {
    return complete(request, response).catch((error) => {
      console.log(`request failed: ${error}`);
      response.destroy();
    });
  }
  return response.writeHead(404).end();
});
server.keepAliveTimeout = 60_000;
server.listen(Number(process.env.LLM_PORT), '127.0.0.1', () => console.log('listening'));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
