import { existsSync, readFileSync } from 'node:fs';
import ssh2, { type ParsedKey } from 'ssh2';
import { ConfigurationError } from '../base/errors.ts';
import type { SshSettings } from './ssh-settings.ts';

/** Private keys: in files, in an agent, and what opens them. */

/** What the user typed for a file, as long as this process lives. */
const passphrases = new Map<string, string>();

interface Usable {
  readonly kind: 'usable';
  readonly key: Buffer;
  readonly passphrase: string | undefined;
}
interface Locked {
  readonly kind: 'locked';
}
interface Unusable {
  readonly kind: 'unusable';
  readonly error: ConfigurationError;
}

const isEncrypted = (error: Error): boolean => /passphrase|encrypted/i.test(error.message);

/** The private key in a file, or why there is none. */
export function readKey(file: string): Usable | Locked | Unusable {
  const unusable = (why: string, remedy: string): Unusable => ({
    kind: 'unusable',
    error: new ConfigurationError(`The identity file ${file} ${why}`, {}, { remedy }),
  });
  let key: Buffer;
  try {
    key = readFileSync(file);
  } catch (cause) {
    return unusable(`cannot be read: ${(cause as Error).message}`, 'Check -i/--identity or identity_file.');
  }
  const passphrase = passphrases.get(file);
  const parsed = ssh2.utils.parseKey(key, passphrase);
  if (parsed instanceof Error) {
    return isEncrypted(parsed)
      ? { kind: 'locked' }
      : unusable(`is no private key: ${parsed.message}`, 'Give a private key in a format of OpenSSH.');
  }
  return parsed.isPrivateKey()
    ? { kind: 'usable', key, passphrase }
    : unusable('is a public key', 'Give the private key, without .pub.');
}

/** What is said of a key that nobody can open. */
export function lockedKey(file: string): ConfigurationError {
  return new ConfigurationError(
    `The identity file ${file} needs a passphrase`,
    {},
    { remedy: `Add it to an agent with \`ssh-add ${file}\`, or run on a terminal, where it is asked for.` },
  );
}

/** The public half of a key: beside it, or in the clear part of OpenSSH's own format. */
export function publicKeyOf(file: string): Buffer | undefined {
  try {
    const beside = `${file}.pub`;
    if (existsSync(beside)) return Buffer.from(readFileSync(beside, 'utf8').split(/\s+/)[1] ?? '', 'base64');
    const body = readFileSync(file, 'utf8').replace(/-----[^-]+-----|\s/g, '');
    const bytes = Buffer.from(body, 'base64');
    let at = 'openssh-key-v1\0'.length;
    const field = (): Buffer => {
      const length = bytes.readUInt32BE(at);
      at += 4 + length;
      return bytes.subarray(at - length, at);
    };
    for (let i = 0; i < 3; i++) field(); // cipher, derivation of its key, their options
    at += 4; // how many keys: one
    return field();
  } catch {
    return undefined;
  }
}

type Identities = Parameters<InstanceType<typeof ssh2.OpenSSHAgent>['getIdentities']>[0];

/** What an agent lists are parsed keys, whatever the types say. */
const isAmong = (wanted: readonly Buffer[], key: unknown): boolean =>
  wanted.some((one) => one.equals((key as ParsedKey).getPublicSSH()));

/** An agent of which only some keys are used. */
export class ListedAgent extends ssh2.OpenSSHAgent {
  readonly #wanted: readonly Buffer[];

  constructor(socket: string, wanted: readonly Buffer[]) {
    super(socket);
    this.#wanted = wanted;
  }

  override getIdentities(callback: Identities): void {
    super.getIdentities((error, keys) => {
      callback(
        error,
        keys?.filter((key) => isAmong(this.#wanted, key)),
      );
    });
  }
}

async function agentKeys(socket: string | undefined): Promise<Buffer[]> {
  if (socket === undefined) return [];
  return new Promise((resolve) => {
    new ssh2.OpenSSHAgent(socket).getIdentities((error, keys) => {
      resolve(error ? [] : (keys ?? []).map((key) => (key as ParsedKey).getPublicSSH()));
    });
  });
}

const attempts = 3;

/** All that is logged in to on the way, in order. */
const wayTo = (settings: SshSettings): SshSettings[] =>
  settings.via === undefined ? [settings] : [...wayTo(settings.via), settings];

/**
 * Asks for the passphrase of a key that is the only way in: no key without one is there, and no agent has it.
 * `ask` resolves to '' where the user has none to give.
 */
export async function unlockKeys(
  settings: readonly SshSettings[],
  ask: (question: string) => Promise<string>,
): Promise<void> {
  for (const { identityFiles, agent } of settings.flatMap(wayTo)) {
    const keys = identityFiles.map((file) => ({ file, read: readKey(file) }));
    if (keys.some(({ read }) => read.kind === 'usable')) continue;
    const held = await agentKeys(agent);
    const isHeld = (file: string): boolean => held.some((key) => publicKeyOf(file)?.equals(key) === true);
    const locked = keys.filter(({ read }) => read.kind === 'locked').map(({ file }) => file);
    const [file] = locked.some(isHeld) ? [] : locked;
    if (file === undefined) continue;
    for (let attempt = 0; attempt < attempts && readKey(file).kind === 'locked'; attempt++) {
      const typed = await ask(`${attempt === 0 ? '' : 'That was another one. '}Passphrase for ${file}: `);
      if (typed === '') break;
      passphrases.set(file, typed);
    }
    if (readKey(file).kind === 'locked') passphrases.delete(file);
  }
}
