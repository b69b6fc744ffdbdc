import { existsSync } from 'node:fs';
import { CommunicationError, type ModelEvalStateError } from '../base/errors.ts';
import { hostLabel, type HostKeyVerdict } from './known-hosts.ts';
import type { SshSettings } from './ssh-settings.ts';

/** What a failed connection means, and what to do about it. */

interface SshError extends Error {
  readonly level?: string;
  readonly code?: string;
}

/** What is known of a refused login. */
export interface LoginRefusal {
  /** Key files that nobody could open. */
  readonly locked: readonly string[];
  /** What the server would take. */
  offered: readonly string[] | undefined;
  /** A key was right, and the server wants more. */
  isPartial: boolean;
}

/** What the server asks for and this program does not give, as a cause and a remedy. */
function unsupported(
  { certificates, identityFiles, host }: SshSettings,
  { locked, offered = ['publickey'], isPartial }: LoginRefusal,
): readonly [string, string] | undefined {
  if (isPartial) {
    return [
      'the key is right, but a second factor is asked for',
      `A run goes on for hours and connects again by itself: have ${host} take a key alone from this machine (AuthenticationMethods publickey).`,
    ];
  }
  if (!offered.includes('publickey')) {
    return [
      `it takes no keys, only ${offered.join(', ')}`,
      `Passwords are not kept for hours: allow PubkeyAuthentication on ${host}, and add your key with ssh-copy-id.`,
    ];
  }
  const certificate = [...certificates, ...identityFiles.map((file) => `${file}-cert.pub`)].find(existsSync);
  if (certificate !== undefined) {
    return [
      `${certificate} is a certificate, which cannot be used here`,
      `Add the plain key to authorized_keys of ${host}, or reach it by ProxyCommand with ssh.`,
    ];
  }
  const [file] = locked;
  return file === undefined
    ? undefined
    : [`${file} needs a passphrase`, `Add it to an agent with \`ssh-add ${file}\`, or run on a terminal.`];
}

export function connectFailure(
  error: SshError,
  settings: SshSettings,
  refusal: LoginRefusal,
): ModelEvalStateError {
  const { host, address, port, user } = settings;
  const details = { host, port };
  if (error.level === 'client-authentication') {
    const tried =
      settings.identityFiles.length === 0 ? 'no key was found' : `keys: ${settings.identityFiles.join(', ')}`;
    const agent = settings.agent === undefined ? 'no agent' : 'agent asked';
    const [cause, remedy] = unsupported(settings, refusal) ?? [
      `${tried}; ${agent}`,
      `Check that \`ssh -p ${port} ${user}@${address}\` works without a password; name the key with -i and the user with --user.`,
    ];
    const message = `Authentication failed: ${user}@${host} refused the login (${cause})`;
    return new CommunicationError(message, details, { cause: error, blame: 'operator', remedy });
  }
  const why = error.code === 'ECONNREFUSED' ? 'connection refused' : error.message;
  const resolvable = error.code !== 'ENOTFOUND' && error.code !== 'EAI_AGAIN';
  return new CommunicationError(`Cannot reach ${host} (${hostLabel(address, port)}): ${why}`, details, {
    cause: error,
    blame: 'node',
    remedy: resolvable
      ? `Check that the host is up and that sshd listens there: \`ssh -p ${port} ${user}@${address}\`.`
      : `Check the spelling of ${host}, or give it a HostName in ~/.ssh/config.`,
  });
}

export function hostKeyFailure(
  verdict: HostKeyVerdict,
  settings: SshSettings,
  fingerprint: string,
  certified = false,
): ModelEvalStateError {
  const { host, address, port } = settings;
  const file = settings.knownHostsFiles[0] ?? '~/.ssh/known_hosts';
  const scan = `ssh-keyscan${port === 22 ? '' : ` -p ${port}`} ${address} >> ${file}`;
  const details = { host, port };
  switch (verdict.kind) {
    case 'changed':
      return new CommunicationError(
        `The host key of ${host} has CHANGED: it shows ${fingerprint}, ${verdict.entry.file}:${verdict.entry.line} has another one`,
        details,
        {
          blame: 'operator',
          remedy: `Find out why. If the host was installed anew: ssh-keygen -R '${hostLabel(address, port)}' -f ${verdict.entry.file}, then ${scan}`,
        },
      );
    case 'revoked':
      return new CommunicationError(
        `The host key of ${host} is revoked by ${verdict.entry.file}:${verdict.entry.line}`,
        details,
        { blame: 'operator', remedy: 'Do not connect until the host has a new key.' },
      );
    case 'unknown':
    case 'known':
      return new CommunicationError(`The host key of ${host} is unknown: ${fingerprint}`, details, {
        blame: 'operator',
        remedy: certified
          ? `Certificates of hosts cannot be checked here; add its own key, if the fingerprint is right: ${scan}`
          : `If the fingerprint is right: ${scan}   (or --accept-new-host-keys)`,
      });
  }
}
