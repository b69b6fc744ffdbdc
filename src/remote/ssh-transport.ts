import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { dirname } from 'node:path';
import pLimit from 'p-limit';
import ssh2, {
  type AuthenticationType,
  type Client,
  type ClientChannel,
  type ConnectConfig,
  type SFTPWrapper,
} from 'ssh2';
import { abortable, childController } from '../base/cancellation.ts';
import { systemClock } from '../base/clock.ts';
import { deferred } from '../base/condition.ts';
import { CommunicationError, type ModelEvalStateError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import {
  entriesFor,
  hostLabel,
  judgeHostKey,
  keyTypeOf,
  parseKnownHosts,
  type KnownHost,
} from './known-hosts.ts';
import { quote } from './quote.ts';
import { connectFailure, hostKeyFailure } from './ssh-errors.ts';
import type { SshSettings } from './ssh-settings.ts';
import { sftpFiles } from './sftp-files.ts';
import type { Channel, ChannelEnd, Files, Transport } from './transport.ts';

export interface SshOptions {
  readonly acceptNewHostKeys: boolean;
  readonly connectTimeoutMs: number;
}

/** A dead peer is found after interval × (count + 1) = 15 s. */
const keepAlive = { keepaliveInterval: 5000, keepaliveCountMax: 2 };
/** Channels at the same time; sshd allows 10 sessions a connection by default, and SFTP takes one. */
const maxChannels = 8;

function readKnownHosts(settings: SshSettings): KnownHost[] {
  return settings.knownHostsFiles.flatMap((file) => {
    try {
      return parseKnownHosts(readFileSync(file, 'utf8'), file);
    } catch {
      return []; // a file that is not there knows nobody
    }
  });
}

/** Ask for the kinds of key that we know, so that a host with several shows one of them. */
function algorithmsFor(known: readonly KnownHost[]): ConnectConfig['algorithms'] {
  const types = [...new Set(known.map((entry) => entry.keyType))];
  const preferred = types.flatMap((type) => (type === 'ssh-rsa' ? ['rsa-sha2-512', 'rsa-sha2-256'] : [type]));
  if (preferred.length === 0) return undefined;
  const usual = [
    'ssh-ed25519',
    'ecdsa-sha2-nistp256',
    'ecdsa-sha2-nistp384',
    'ecdsa-sha2-nistp521',
    'rsa-sha2-512',
    'rsa-sha2-256',
  ];
  const ordered = [
    ...preferred.filter((type) => usual.includes(type)),
    ...usual.filter((type) => !preferred.includes(type)),
  ];
  return {
    serverHostKey: ordered as NonNullable<NonNullable<ConnectConfig['algorithms']>['serverHostKey']> &
      string[],
  };
}

/** The named key alone; else the agent first, then the key files. */
function authentication(settings: SshSettings): unknown[] {
  const { user: username, identityFiles, agent } = settings;
  const keys = identityFiles.flatMap((file) => {
    const key = readFileSync(file);
    const parsed = ssh2.utils.parseKey(key);
    return parsed instanceof Error ? [] : [{ type: 'publickey', username, key }];
  });
  const agents = agent === undefined ? [] : [{ type: 'agent', username, agent }];
  return settings.identitiesOnly && keys.length > 0 ? keys : [...agents, ...keys];
}

class ChannelRefused extends CommunicationError {}

/** One SSH connection to one node, with bounded channels and one SFTP session. */
export class SshTransport implements Transport {
  readonly host: string;
  readonly address: string;
  readonly #client: Client;
  readonly #lost = childController();
  readonly #limit = pLimit(maxChannels);
  #sftp: Promise<SFTPWrapper> | undefined;

  private constructor(client: Client, settings: SshSettings) {
    this.host = settings.host;
    this.address = settings.address;
    this.#client = client;
    let last: Error | undefined;
    client.on('error', (error: Error) => (last = error));
    client.on('close', () => {
      const why = last === undefined ? 'the connection was closed' : last.message;
      this.#lost.abort(
        new CommunicationError(
          `Lost the connection to ${this.host}: ${why}`,
          { host: this.host },
          { cause: last },
        ),
      );
    });
  }

  /** @throws CommunicationError; blame `operator` for a refused key and for host keys */
  static async connect(
    settings: SshSettings,
    options: SshOptions,
    signal: AbortSignal,
  ): Promise<SshTransport> {
    signal.throwIfAborted();
    const known = entriesFor(readKnownHosts(settings), [settings.host, settings.address], settings.port);
    const done = deferred<undefined>();
    const client = new ssh2.Client();
    let refused: ModelEvalStateError | undefined;
    // The address may be written as [::1] in host lists and URLs.
    const sock: Socket = connectTcp({ host: settings.address, port: settings.port, noDelay: true });
    const fail = (error: Error): void => done.reject(refused ?? connectFailure(error, settings));
    const timer = setTimeout(
      () => sock.destroy(new Error(`no answer within ${options.connectTimeoutMs / 1000} s`)),
      options.connectTimeoutMs,
    );
    sock.on('error', fail);
    client.on('error', fail);
    client.on('close', () => fail(new Error('the server closed the connection')));
    client.on('ready', () => done.resolve(undefined));
    const algorithms = algorithmsFor(known);
    client.connect({
      sock,
      username: settings.user,
      readyTimeout: options.connectTimeoutMs,
      ...keepAlive,
      ...(algorithms === undefined ? {} : { algorithms }),
      authHandler: authentication(settings) as unknown as AuthenticationType[],
      hostVerifier: (key: Buffer) => {
        refused = checkHostKey(key, known, settings, options);
        return refused === undefined;
      },
    });
    try {
      await abortable(done.promise, signal);
      client.removeAllListeners('close');
      return new SshTransport(client, settings);
    } catch (error) {
      client.destroy();
      sock.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  get files(): Files {
    return sftpFiles(async () => this.#openSftp());
  }

  /** A full sshd (MaxSessions) refuses a channel while others are still being closed: it gets in a little later. */
  async open(text: string, signal: AbortSignal): Promise<Channel> {
    for (let pause = 20; ; pause *= 2) {
      try {
        return await this.#open(text, signal);
      } catch (error) {
        if (!(error instanceof ChannelRefused) || pause > 1000) throw error;
        await systemClock.sleep(ms(pause), signal);
      }
    }
  }

  async #open(text: string, signal: AbortSignal): Promise<Channel> {
    signal.throwIfAborted();
    this.#lost.signal.throwIfAborted();
    const opened = deferred<Channel>();
    const over = deferred<unknown>();
    void this.#limit(async () => {
      try {
        this.#lost.signal.throwIfAborted();
        this.#client.exec(`exec sh -c ${quote(text)}`, (error, stream) => {
          // At once: exit and close of a short command may be in the same packet.
          if (error === undefined) opened.resolve(this.#channel(stream));
          else opened.reject(this.#refusal(error));
        });
      } catch (error) {
        opened.reject(this.#refusal(error as Error));
      }
      await over.promise;
    });
    const onLost = (): void => opened.reject(this.#lost.signal.reason as Error);
    this.#lost.signal.addEventListener('abort', onLost, { once: true });
    try {
      const channel = await opened.promise;
      void channel.ended.then(over.resolve);
      return channel;
    } catch (error) {
      over.resolve(undefined);
      throw error;
    } finally {
      this.#lost.signal.removeEventListener('abort', onLost);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#lost.signal.aborted) return;
    const closed = new Promise<void>((resolve) =>
      this.#lost.signal.addEventListener('abort', () => resolve(), { once: true }),
    );
    this.#client.end();
    const timer = setTimeout(() => this.#client.destroy(), 500);
    await closed.finally(() => clearTimeout(timer));
  }

  #channel(stream: ClientChannel): Channel {
    const ended = deferred<ChannelEnd>();
    let end: ChannelEnd | undefined;
    stream.on('exit', (code: number | null, name?: string) => {
      end = code === null ? { kind: 'signal', name: name ?? 'unknown' } : { kind: 'code', code };
    });
    stream.on('close', () => {
      const cause =
        (this.#lost.signal.reason as Error | undefined) ??
        new Error('the channel closed without an exit status');
      ended.resolve(end ?? { kind: 'lost', cause });
    });
    const onLost = (): void =>
      ended.resolve(end ?? { kind: 'lost', cause: this.#lost.signal.reason as Error });
    this.#lost.signal.addEventListener('abort', onLost, { once: true });
    void ended.promise.then(() => this.#lost.signal.removeEventListener('abort', onLost));
    stream.on('error', () => undefined); // 'close' follows and says what there is to say
    return {
      stdin: stream,
      stdout: stream,
      stderr: stream.stderr,
      ended: ended.promise,
      close: () => {
        stream.end();
        stream.close();
      },
    };
  }

  async #openSftp(): Promise<SFTPWrapper> {
    this.#lost.signal.throwIfAborted();
    this.#sftp ??= new Promise<SFTPWrapper>((resolve, reject) => {
      this.#client.sftp((error, sftp) => {
        if (error !== undefined) {
          this.#sftp = undefined;
          reject(this.#refusal(error));
          return;
        }
        sftp.on('close', () => (this.#sftp = undefined));
        sftp.on('error', () => (this.#sftp = undefined));
        resolve(sftp);
      });
    });
    return this.#sftp;
  }

  #refusal(cause: Error): CommunicationError {
    if (this.#lost.signal.aborted) return this.#lost.signal.reason as CommunicationError;
    return new ChannelRefused(
      `${this.host} opened no channel: ${cause.message}`,
      { host: this.host },
      {
        cause,
        remedy: `Raise MaxSessions of sshd on ${this.host}, or use fewer groups a host.`,
      },
    );
  }
}

function checkHostKey(
  key: Buffer,
  known: readonly KnownHost[],
  settings: SshSettings,
  options: SshOptions,
): ModelEvalStateError | undefined {
  const verdict = judgeHostKey(known, key);
  if (verdict.kind === 'known') return undefined;
  const [file] = settings.knownHostsFiles;
  if (verdict.kind === 'unknown' && options.acceptNewHostKeys && file !== undefined) {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const label = hostLabel(settings.address, settings.port);
    appendFileSync(file, `${label} ${keyTypeOf(key)} ${key.toString('base64')}\n`, { mode: 0o600 });
    return undefined;
  }
  const digest = createHash('sha256').update(key).digest('base64').replace(/=+$/, '');
  return hostKeyFailure(verdict, settings, `${keyTypeOf(key)} SHA256:${digest}`);
}
