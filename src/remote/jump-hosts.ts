import { spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import type { Client } from 'ssh2';
import { abortable } from '../base/cancellation.ts';
import { deferred } from '../base/condition.ts';
import { CommunicationError } from '../base/errors.ts';
import { LineTail } from './bounded-text.ts';
import { hostLabel } from './known-hosts.ts';
import type { SshSettings } from './ssh-settings.ts';

/** A stream to a host, and how to say that it is not used any more. */
export interface Passage {
  readonly stream: Duplex;
  readonly release: () => void;
}

interface Jump {
  readonly client: Promise<Client>;
  readonly stop: AbortController;
  users: number;
}

const keyOf = ({ user, address, port, via }: SshSettings): string =>
  `${via === undefined ? '' : `${keyOf(via)} `}${user}@${hostLabel(address, port)}`;

/** Connections to jump hosts, one each, shared by the nodes behind them and closed after the last one. */
export class JumpHosts {
  readonly #jumps = new Map<string, Jump>();
  readonly #connect: (settings: SshSettings, signal: AbortSignal) => Promise<Client>;

  constructor(connect: (settings: SshSettings, signal: AbortSignal) => Promise<Client>) {
    this.#connect = connect;
  }

  /** @throws CommunicationError, naming the jump host */
  async passage(
    via: SshSettings,
    { address, port }: Pick<SshSettings, 'address' | 'port'>,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Passage> {
    const jump = this.#enter(via);
    let isLeft = false;
    const release = (): void => {
      if (!isLeft) this.#leave(via, jump);
      isLeft = true;
    };
    try {
      const client = await abortable(jump.client, signal);
      const opened = deferred<Duplex>();
      client.forwardOut('127.0.0.1', 0, address, port, (error, stream) => {
        if (error === undefined) opened.resolve(stream);
        else opened.reject(refusal(via, address, port, error));
      });
      const gone = (): void => opened.reject(refusal(via, address, port, new Error('its connection ended')));
      client.once('close', gone);
      const late = new Error(`no answer within ${timeoutMs / 1000} s`);
      const timer = setTimeout(() => opened.reject(refusal(via, address, port, late)), timeoutMs);
      const stream = await abortable(opened.promise, signal).finally(() => {
        clearTimeout(timer);
        client.off('close', gone);
      });
      return { stream, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  #enter(via: SshSettings): Jump {
    const key = keyOf(via);
    let jump = this.#jumps.get(key);
    if (jump === undefined) {
      const stop = new AbortController();
      const made: Jump = { client: this.#connect(via, stop.signal), stop, users: 0 };
      jump = made;
      this.#jumps.set(key, made);
      // Whoever comes after its end opens another one.
      const forget = (): void => {
        if (this.#jumps.get(key) === made) this.#jumps.delete(key);
      };
      made.client.then((client) => client.once('close', forget), forget);
    }
    jump.users++;
    return jump;
  }

  #leave(via: SshSettings, jump: Jump): void {
    if (--jump.users > 0) return;
    const key = keyOf(via);
    if (this.#jumps.get(key) === jump) this.#jumps.delete(key);
    jump.stop.abort(new CommunicationError('nobody waits for it any more'));
    jump.client.then(
      (client) => client.end(),
      () => undefined,
    );
  }
}

function refusal(via: SshSettings, address: string, port: number, cause: Error): CommunicationError {
  const to = hostLabel(address, port);
  return new CommunicationError(
    `The jump host ${via.host} does not get to ${to}: ${cause.message}`,
    { host: address, jump: via.host },
    {
      cause,
      remedy: `Check \`ssh -W ${to} ${via.host}\`: it needs AllowTcpForwarding there, and ${address} to be up.`,
    },
  );
}

/** What ProxyCommand runs, with the connection as its input and output. */
export function commandPassage(command: string): Passage {
  const child = spawn('sh', ['-c', `exec ${command.replace(/^exec\s+/, '')}`], { stdio: 'pipe' });
  const stream = Duplex.from({ readable: child.stdout, writable: child.stdin });
  const said = new LineTail(1);
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk.toString('utf8')));
  child.on('error', (error) => stream.destroy(error));
  child.on('close', (code) => {
    const last = said.lines.at(-1);
    stream.destroy(
      new Error(`ProxyCommand ended with ${code ?? 'a signal'}${last === undefined ? '' : `: ${last}`}`),
    );
  });
  return { stream, release: () => void child.kill('SIGTERM') };
}
