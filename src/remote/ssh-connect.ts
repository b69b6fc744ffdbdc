import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { dirname } from 'node:path';
import ssh2, { type AuthenticationType, type Client, type ConnectConfig } from 'ssh2';
import { abortable } from '../base/cancellation.ts';
import { deferred } from '../base/condition.ts';
import type { ModelEvalStateError } from '../base/errors.ts';
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

/** A dead peer is found after interval × (count + 1) = 15 s. */
const keepAlive = { keepaliveInterval: 5000, keepaliveCountMax: 2 };
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

/** An authenticated client. @throws CommunicationError; blame `operator` for a refused key and for host keys */
export async function connectClient(
  settings: SshSettings,
  options: SshOptions,
  signal: AbortSignal,
): Promise<Client> {
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
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const label = hostLabel(settings.address, settings.port);
    appendFileSync(file, `${label} ${keyTypeOf(key)} ${key.toString('base64')}\n`, { mode: 0o600 });
    return undefined;
  }
  const digest = createHash('sha256').update(key).digest('base64').replace(/=+$/, '');
  return hostKeyFailure(verdict, settings, `${keyTypeOf(key)} SHA256:${digest}`);
}
