import { CommunicationError, type ModelEvalStateError } from '../base/errors.ts';
import { hostLabel, type HostKeyVerdict } from './known-hosts.ts';
import type { SshSettings } from './ssh-settings.ts';

/** What a failed connection means, and what to do about it. */

interface SshError extends Error {
  readonly level?: string;
  readonly code?: string;
}

export function connectFailure(error: SshError, settings: SshSettings): ModelEvalStateError {
  const { host, address, port, user } = settings;
  const details = { host, port };
  if (error.level === 'client-authentication') {
    const tried =
      settings.identityFiles.length === 0 ? 'no key was found' : `keys: ${settings.identityFiles.join(', ')}`;
    const agent = settings.agent === undefined ? 'no agent' : 'agent asked';
    return new CommunicationError(
      `Authentication failed: ${user}@${host} refused the login (${tried}; ${agent})`,
      details,
      {
        cause: error,
        blame: 'operator',
        remedy: `Check that \`ssh -p ${port} ${user}@${address}\` works without a password; name the key with -i and the user with --user.`,
      },
    );
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
        remedy: `If the fingerprint is right: ${scan}   (or --accept-new-host-keys)`,
      });
  }
}
