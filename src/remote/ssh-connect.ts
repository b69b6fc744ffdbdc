import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { dirname } from 'node:path';
import ssh2, { type AuthenticationType, type Client, type ConnectConfig } from 'ssh2';
import { abortable } from '../base/cancellation.ts';
import { deferred } from '../base/condition.ts';
import { ConfigurationError, type ModelEvalStateError } from '../base/errors.ts';
import {
  entriesFor,
  hostLabel,
  judgeHostKey,
  keyTypeOf,
  parseKnownHosts,
  type KnownHost,
} from './known-hosts.ts';
import { connectFailure, hostKeyFailure } from './ssh-errors.ts';
import type { SshSettings } from './ssh-settings.ts';

export interface SshOptions {
  readonly acceptNewHostKeys: boolean;
  readonly connectTimeoutMs: number;
}

/** A dead peer is found after interval × (count + 1) = 9 s, and the part of an interval that it still lived. */
const keepAlive = { keepaliveInterval: 3000, keepaliveCountMax: 2 };

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

/** The private key in a file, or why there is none. */
function readKey(file: string): Buffer | ConfigurationError {
  const unusable = (why: string, remedy: string): ConfigurationError =>
    new ConfigurationError(`The identity file ${file} ${why}`, {}, { remedy });
  let key: Buffer;
  try {
    key = readFileSync(file);
  } catch (cause) {
    return unusable(`cannot be read: ${(cause as Error).message}`, 'Check -i/--identity or identity_file.');
  }
  const parsed = ssh2.utils.parseKey(key);
  if (!(parsed instanceof Error)) {
    return parsed.isPrivateKey() ? key : unusable('is a public key', 'Give the private key, without .pub.');
  }
  return /passphrase|encrypted/i.test(parsed.message)
    ? unusable('needs a passphrase', 'Add it to an agent with `ssh-add`, and leave -i out.')
    : unusable(`is no private key: ${parsed.message}`, 'Give a private key in a format of OpenSSH.');
}

/** The named key alone; else the agent first, then the key files. @throws ConfigurationError for an unusable named key */
function authentication(settings: SshSettings): unknown[] {
  const { user: username, identityFiles, identitiesOnly, agent } = settings;
  const read = identityFiles.map(readKey);
  const refused = read.find((key) => key instanceof ConfigurationError);
  if (identitiesOnly && refused !== undefined) throw refused;
  // Of the usual places some may be unusable: others may do.
  const keys = read
    .filter((key) => !(key instanceof ConfigurationError))
    .map((key) => ({ type: 'publickey', username, key }));
  const agents = agent === undefined ? [] : [{ type: 'agent', username, agent }];
  return identitiesOnly ? keys : [...agents, ...keys];
}

/** Adds a host's key to known_hosts, on a line of its own. @returns why that failed */
function learnHostKey(file: string, entry: string): ModelEvalStateError | undefined {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const torn = existsSync(file) && /[^\n]$/.test(readFileSync(file, 'utf8'));
    appendFileSync(file, `${torn ? '\n' : ''}${entry}\n`, { mode: 0o600 });
    return undefined;
  } catch (cause) {
    return new ConfigurationError(
      `Cannot add a host key to ${file}: ${(cause as Error).message}`,
      {},
      { cause, remedy: 'Give a file that can be written with known_hosts_file, or add the key by hand.' },
    );
  }
}

/** An authenticated client. @throws CommunicationError; blame `operator` for a refused key and for host keys */
export async function connectClient(
  settings: SshSettings,
  options: SshOptions,
  signal: AbortSignal,
): Promise<Client> {
  signal.throwIfAborted();
  const authHandler = authentication(settings) as unknown as AuthenticationType[];
  const known = entriesFor(readKnownHosts(settings), [settings.host, settings.address], settings.port);
  const done = deferred<undefined>();
  const client = new ssh2.Client();
  let refused: ModelEvalStateError | undefined;
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
    authHandler,
    hostVerifier: (key: Buffer) => {
      refused = checkHostKey(key, known, settings, options);
      return refused === undefined;
    },
  });
  try {
    await abortable(done.promise, signal);
    client.removeAllListeners('close');
    return client;
  } catch (error) {
    client.destroy();
    sock.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
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
    const label = hostLabel(settings.address, settings.port);
    return learnHostKey(file, `${label} ${keyTypeOf(key)} ${key.toString('base64')}`);
  }
  const digest = createHash('sha256').update(key).digest('base64').replace(/=+$/, '');
  return hostKeyFailure(verdict, settings, `${keyTypeOf(key)} SHA256:${digest}`);
}
