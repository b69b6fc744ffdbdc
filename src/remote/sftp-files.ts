import { randomBytes } from 'node:crypto';
import type { SFTPWrapper } from 'ssh2';
import { abortable, childController } from '../base/cancellation.ts';
import { deferred } from '../base/condition.ts';
import type { Files } from './transport.ts';

type Done = (error?: Error | null) => void;

async function done(start: (callback: Done) => void): Promise<void> {
  const settled = deferred<undefined>();
  try {
    start((error) => {
      if (error === undefined || error === null) settled.resolve(undefined);
      else settled.reject(withCode(error));
    });
  } catch (error) {
    settled.reject(error as Error); // ssh2 throws what the server cannot do
  }
  await settled.promise;
}

/** SFTP says 2 where everybody else says ENOENT. */
function withCode(error: Error): Error {
  const code = (error as { code?: unknown }).code;
  return code === 2 ? Object.assign(new Error(error.message, { cause: error }), { code: 'ENOENT' }) : error;
}

/** Over an existing file: at once where the server has OpenSSH's extension, else with a moment without the file. */
async function rename(sftp: SFTPWrapper, from: string, to: string): Promise<void> {
  try {
    await done((callback) => sftp.ext_openssh_rename(from, to, callback));
  } catch (error) {
    if (!(error as Error).message.includes('not support')) throw error;
    await done((callback) => sftp.unlink(to, callback)).catch(() => undefined);
    await done((callback) => sftp.rename(from, to, callback));
  }
}

const closes = new WeakMap<SFTPWrapper, Promise<never>>();

/** Rejects when the session ends: its requests would never be answered. */
async function closeOf(sftp: SFTPWrapper): Promise<never> {
  let closed = closes.get(sftp);
  if (closed === undefined) {
    closed = new Promise<never>((_, reject) => {
      sftp.once('close', () => reject(new Error('the SFTP session was closed')));
    });
    closed.catch(() => undefined);
    closes.set(sftp, closed);
  }
  return closed;
}

/**
 * Files over one SFTP session, which `session` opens again when the connection was renewed. What was asked of a
 * connection that is `lost` may never be answered.
 */
export function sftpFiles(session: () => Promise<SFTPWrapper>, lost: AbortSignal): Files {
  const using = async <T>(signal: AbortSignal, work: (sftp: SFTPWrapper) => Promise<T>): Promise<T> => {
    using either = childController(signal, lost);
    const sftp = await abortable(session(), either.signal);
    return await abortable(Promise.race([work(sftp), closeOf(sftp)]), either.signal);
  };
  return {
    read: async (path, signal) =>
      using(
        signal,
        async (sftp) =>
          new Promise<Buffer>((resolve, reject) => {
            sftp.readFile(path, (error, data) =>
              error === undefined ? resolve(data) : reject(withCode(error)),
            );
          }),
      ),
    write: async (path, data, signal, mode) =>
      using(signal, async (sftp) => {
        const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
        await done((callback) => sftp.writeFile(temporary, data, { mode, flag: 'wx' }, callback));
        try {
          await rename(sftp, temporary, path);
        } catch (error) {
          await done((callback) => sftp.unlink(temporary, callback)).catch(() => undefined);
          throw error;
        }
      }),
    upload: async (local, remote, signal) =>
      using(signal, async (sftp) => done((callback) => sftp.fastPut(local, remote, callback))),
    download: async (remote, local, signal) =>
      using(signal, async (sftp) => done((callback) => sftp.fastGet(remote, local, callback))),
  };
}
