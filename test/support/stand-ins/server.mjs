// An engine's server: the emulator behind it, and in front of it what this engine answers differently.
import { spawn } from 'node:child_process';
import { createServer, request } from 'node:http';
import { fileURLToPath } from 'node:url';

const emulator = fileURLToPath(new URL('../../../dist/emulator/main.js', import.meta.url));

/**
 * Starts the emulator with these settings, its words on our output, and serves it on host and port. `extra` are
 * answers by `METHOD path`; null refuses what the emulator would answer.
 */
export async function serve({ host, port, settings, extra = {}, silence = [] }) {
  const set = Object.entries(settings).flatMap(([name, value]) => ['--set', `${name}=${value}`]);
  const child = spawn(
    process.execPath,
    [emulator, '--preset', 'demo', '--host', '127.0.0.1', '--port', '0', ...set],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  let backend;
  const started = new Promise((resolve) => {
    let text = '';
    child.stdout.on('data', (chunk) => {
      for (const line of chunk.toString().split('\n')) {
        if (line !== '' && !silence.some((one) => line.includes(one))) process.stdout.write(`${line}\n`);
      }
      text += chunk.toString();
      const found = /Started server on http:\/\/127\.0\.0\.1:(\d+)/.exec(text);
      if (found !== null) resolve(Number(found[1]));
    });
  });
  const stop = () => child.kill('SIGTERM');
  for (const name of ['SIGTERM', 'SIGINT']) process.on(name, stop);
  child.on('exit', (code) => process.exit(code ?? 1));
  backend = await started;
  const server = createServer((incoming, outgoing) => {
    const path = incoming.url.replace(/\?.*$/, '');
    const answer = extra[`${incoming.method} ${path}`];
    if (answer !== undefined) {
      if (answer === null) return outgoing.writeHead(404).end('{"detail":"Not Found"}');
      const body = typeof answer === 'function' ? answer() : answer;
      return outgoing.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    }
    const onward = request(
      {
        host: '127.0.0.1',
        port: backend,
        path: incoming.url,
        method: incoming.method,
        headers: incoming.headers,
      },
      (response) => {
        outgoing.writeHead(response.statusCode, response.headers);
        response.pipe(outgoing);
      },
    );
    onward.on('error', () => outgoing.destroy());
    outgoing.on('close', () => onward.destroy());
    incoming.pipe(onward);
  });
  server.keepAliveTimeout = 60_000;
  server.on('error', (error) => {
    process.stdout.write(`OSError: [Errno 98] ${error.message}\n`);
    child.kill('SIGTERM');
    process.exit(1);
  });
  await new Promise((resolve) => server.listen(Number(port), host, resolve));
}
