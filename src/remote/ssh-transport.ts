import type { Duplex } from 'node:stream';
import pLimit from 'p-limit';
import type { Client, ClientChannel, SFTPWrapper } from 'ssh2';
import { abortable, childController } from '../base/cancellation.ts';
import { systemClock } from '../base/clock.ts';
import { deferred } from '../base/condition.ts';
import { CommunicationError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import { quote } from './quote.ts';
import { connectClient, type SshOptions } from './ssh-connect.ts';
import type { SshSettings } from './ssh-settings.ts';
import { PortForwarding } from './forwarding.ts';
import { sftpFiles } from './sftp-files.ts';
import type { Channel, ChannelEnd, Files, Transport } from './transport.ts';

/** Channels at the same time; sshd allows 10 sessions a connection by default, and SFTP takes one. */
const maxChannels = 8;

class ChannelRefused extends CommunicationError {}

/** One SSH connection to one node, with bounded channels and one SFTP session. */
export class SshTransport implements Transport {
  readonly host: string;
  readonly address: string;
  readonly forwarding: PortForwarding;
  readonly #client: Client;
  readonly #lost = childController();
  readonly #limit = pLimit(maxChannels);
  #sftp: Promise<SFTPWrapper> | undefined;

  private constructor(client: Client, settings: SshSettings) {
    this.host = settings.host;
    this.address = settings.address;
    this.#client = client;
    const isHidden = settings.via !== undefined || settings.proxyCommand !== undefined;
    const dial = async (host: string, port: number, signal: AbortSignal): Promise<Duplex> =>
      this.#dial(host, port, signal);
    this.forwarding = new PortForwarding(dial, this.#lost.signal, isHidden);
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
    return new SshTransport(await connectClient(settings, options, signal), settings);
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  get files(): Files {
    return sftpFiles(async () => this.#openSftp(), this.#lost.signal);
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
      const channel = await abortable(opened.promise, signal);
      void channel.ended.then(over.resolve);
      return channel;
    } catch (error) {
      // A server that says nothing may still open it one day.
      opened.promise.then((channel) => channel.close()).catch(() => undefined);
      over.resolve(undefined);
      throw error;
    } finally {
      this.#lost.signal.removeEventListener('abort', onLost);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#lost.signal.aborted) return;
    this.forwarding.close();
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

  async #dial(host: string, port: number, signal: AbortSignal): Promise<Duplex> {
    this.#lost.signal.throwIfAborted();
    using either = childController(signal, this.#lost.signal);
    const opened = deferred<Duplex>();
    this.#client.forwardOut('127.0.0.1', 0, host, port, (error, stream) => {
      if (error !== undefined) opened.reject(error);
      else if (either.signal.aborted) stream.destroy();
      else opened.resolve(stream);
    });
    return await abortable(opened.promise, either.signal);
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
