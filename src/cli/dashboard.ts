import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ConfigurationError } from '../base/errors.ts';
import { reportHtml } from '../run-report.ts';
import { studyNamed } from '../saved-run.ts';
import { exitCodes } from './outcome.ts';
import { reading, type RunsOptions } from './runs.ts';
import { stopOnSignals } from './signals.ts';

export interface DashboardOptions extends RunsOptions {
  readonly port?: number;
  readonly address: string;
}

/** Made anew no more often than this, whoever asks. */
const oldestMs = 5000;

function sameToken(given: string, token: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(token)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Serves the page of a run, read-only, to who knows the token. */
function serve(
  page: () => Promise<string>,
  token: string,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  let [kept, madeAt] = ['', -Infinity];
  return async ({ method, url = '' }, response) => {
    const [path = ''] = url.split('?');
    const isOurs = sameToken(path, `/${token}/`);
    if (!isOurs || (method !== 'GET' && method !== 'HEAD')) {
      response.writeHead(isOurs ? 405 : 404, { 'content-type': 'text/plain' }).end('there is nothing here\n');
      return;
    }
    if (performance.now() - madeAt > oldestMs) {
      kept = await page();
      madeAt = performance.now();
    }
    response
      .writeHead(200, {
        'content-type': 'text/html; charset=utf-8',
        'cache-control': 'no-store',
        'referrer-policy': 'no-referrer',
        'x-content-type-options': 'nosniff',
        'x-frame-options': 'DENY',
      })
      .end(method === 'HEAD' ? undefined : kept);
  };
}

/** Serves the report of a run until it is interrupted; it refreshes itself while the run goes on. */
export async function dashboard(named: string | undefined, options: DashboardOptions): Promise<number> {
  return reading(options, async () => {
    const { output = 'result', address } = options;
    const study = await studyNamed(output, named);
    const token = randomBytes(16).toString('hex');
    const page = async (): Promise<string> => {
      const { directory, entries } = await studyNamed(study.directory, study.directory);
      return reportHtml(directory, entries);
    };
    const answer = serve(page, token);
    const server = createServer((request, response) => {
      answer(request, response).catch((error: unknown) => {
        response.writeHead(500, { 'content-type': 'text/plain' }).end(`${(error as Error).message}\n`);
      });
    });
    using stop = stopOnSignals(() => undefined);
    await new Promise<void>((listening, failed) => {
      server.once('error', (cause: NodeJS.ErrnoException) => {
        failed(
          new ConfigurationError(
            `Cannot listen on ${address}: ${cause.message}`,
            {},
            { cause, remedy: 'Give another --port or --address.' },
          ),
        );
      });
      server.listen(options.port ?? 0, address, listening);
    });
    const { port } = server.address() as AddressInfo;
    const host = address.includes(':') ? `[${address}]` : address;
    process.stdout.write(
      `run ${study.runId} at http://${host}:${port}/${token}/\nfrom a laptop: ssh -L ${port}:${host}:${port} THIS_MACHINE, then the same address there; Ctrl-C ends it\n`,
    );
    await new Promise<void>((stopped) => {
      stop.signal.addEventListener('abort', () => stopped());
    });
    server.closeAllConnections();
    server.close();
    return exitCodes.feasible;
  });
}
