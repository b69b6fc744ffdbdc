import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { dirname } from 'node:path';
import ssh2, {
  type AuthenticationType,
  type AuthHandlerMiddleware,
  type Client,
  type ConnectConfig,
} from 'ssh2';
import { abortable } from '../base/cancellation.ts';
import { deferred } from '../base/condition.ts';
import { ConfigurationError, type ModelEvalStateError } from '../base/errors.ts';
import { commandPassage, JumpHosts, type Passage } from './jump-hosts.ts';
import {
  entriesFor,
  hostLabel,
  isCertified,
  judgeHostKey,
  keyTypeOf,
  parseKnownHosts,
  type KnownHost,
} from './known-hosts.ts';
import { connectFailure, hostKeyFailure, type LoginRefusal } from './ssh-errors.ts';
import { ListedAgent, lockedKey, publicKeyOf, readKey } from './ssh-keys.ts';
import type { SshSettings } from './ssh-settings.ts';

export interface SshOptions {
  readonly acceptNewHostKeys: boolean;
  readonly connectTimeoutMs: number;
  readonly jumps?: JumpHosts;
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

/** The keys that are tried: the agent's first, but after a named one; and what cannot be tried. */
interface Authentication {
  readonly methods: readonly unknown[];
  /** Key files that nobody can open. */
  readonly locked: readonly string[];
}

/** @throws ConfigurationError for an unusable named key */
function authentication(settings: SshSettings): Authentication {
  const { user: username, identityFiles, identitiesOnly, isNamed, agent } = settings;
  const read = identityFiles.map((file) => ({ file, ...readKey(file) }));
  const publicHalves = identityFiles.flatMap((file) => publicKeyOf(file) ?? []);
  // Of the usual places some may be unusable: others may do.
  const keys = read.flatMap((one) =>
    one.kind === 'usable' ? [{ type: 'publickey', username, key: one.key, passphrase: one.passphrase }] : [],
  );
  const [first] = read;
  if (isNamed && first?.kind === 'unusable') throw first.error;
  if (isNamed && first?.kind === 'locked' && agent === undefined) throw lockedKey(first.file);
  const known = agent !== undefined && identitiesOnly ? new ListedAgent(agent, publicHalves) : agent;
  const agents = known === undefined ? [] : [{ type: 'agent', username, agent: known }];
  const locked = read.filter(({ kind }) => kind === 'locked').map(({ file }) => file);
  return { methods: isNamed ? [...keys, ...agents] : [...agents, ...keys], locked };
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

/** Where the bytes of a connection go: a socket, a way through a jump host, or a command. */
async function passageTo(settings: SshSettings, options: SshOptions, signal: AbortSignal): Promise<Passage> {
  const { address, port, via, proxyCommand } = settings;
  if (proxyCommand !== undefined) return commandPassage(proxyCommand);
  if (via !== undefined)
    return (options.jumps ?? jumpHosts(options)).passage(via, settings, options.connectTimeoutMs, signal);
  const stream = connectTcp({ host: address, port, noDelay: true });
  return { stream, release: () => undefined };
}

/** Jump hosts that all share who connect with the same. */
export function jumpHosts(options: SshOptions): JumpHosts {
  const jumps: JumpHosts = new JumpHosts(async (via, signal) =>
    connectClient(via, { ...options, jumps }, signal),
  );
  return jumps;
}

/** An authenticated client. @throws CommunicationError; blame `operator` for a refused key and for host keys */
export async function connectClient(
  settings: SshSettings,
  options: SshOptions,
  signal: AbortSignal,
): Promise<Client> {
  signal.throwIfAborted();
  const { methods, locked } = authentication(settings);
  const entries = readKnownHosts(settings);
  const { hostKeyAlias, host, address, port } = settings;
  // An alias stands for a host and port together.
  const names = hostKeyAlias === undefined ? [host, address] : [hostKeyAlias];
  const keyPort = hostKeyAlias === undefined ? port : 22;
  const known = entriesFor(entries, names, keyPort);
  const done = deferred<undefined>();
  const client = new ssh2.Client();
  let refused: ModelEvalStateError | undefined;
  const { stream: sock, release } = await passageTo(settings, options, signal);
  const refusal: LoginRefusal = { locked, offered: undefined, isPartial: false };
  const fail = (error: Error): void => done.reject(refused ?? connectFailure(error, settings, refusal));
  const timer = setTimeout(
    () => sock.destroy(new Error(`no answer within ${options.connectTimeoutMs / 1000} s`)),
    options.connectTimeoutMs,
  );
  sock.on('error', fail);
  client.on('error', fail);
  client.on('close', () => fail(new Error('the server closed the connection')));
  client.once('close', release);
  client.on('ready', () => done.resolve(undefined));
  const algorithms = algorithmsFor(known);
  client.connect({
    sock,
    username: settings.user,
    readyTimeout: options.connectTimeoutMs,
    ...keepAlive,
    ...(algorithms === undefined ? {} : { algorithms }),
    authHandler: inTurn(methods, refusal),
    hostVerifier: (key: Buffer) => {
      refused = checkHostKey(key, known, settings, options, isCertified(entries, names, keyPort));
      return refused === undefined;
    },
  });
  try {
    await abortable(done.promise, signal);
    return client;
  } catch (error) {
    client.destroy();
    sock.destroy();
    release();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Offers one way after the other, and keeps what the server says about them. */
function inTurn(methods: readonly unknown[], refusal: LoginRefusal): AuthHandlerMiddleware {
  let turn = 0;
  return (offered, isPartial, next): void => {
    // The first call brings null, which @types/ssh2 does not know.
    const [said, partly] = [offered as string[] | null, isPartial as boolean | null];
    if (said !== null) refusal.offered = said;
    refusal.isPartial ||= partly === true;
    // A second factor is not a matter of further keys.
    const method = refusal.isPartial ? undefined : methods[turn++];
    next((method ?? false) as AuthenticationType);
  };
}

function checkHostKey(
  key: Buffer,
  known: readonly KnownHost[],
  settings: SshSettings,
  options: SshOptions,
  certified: boolean,
): ModelEvalStateError | undefined {
  const verdict = judgeHostKey(known, key);
  if (verdict.kind === 'known') return undefined;
  const [file] = settings.knownHostsFiles;
  const learns = options.acceptNewHostKeys || settings.learnsHostKeys;
  if (verdict.kind === 'unknown' && learns && file !== undefined) {
    const label = settings.hostKeyAlias ?? hostLabel(settings.address, settings.port);
    return learnHostKey(file, `${label} ${keyTypeOf(key)} ${key.toString('base64')}`);
  }
  const digest = createHash('sha256').update(key).digest('base64').replace(/=+$/, '');
  return hostKeyFailure(verdict, settings, `${keyTypeOf(key)} SHA256:${digest}`, certified);
}
