import { spawn } from 'node:child_process';
import {
  closeSync,
  fstatSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import ssh2, { type ServerChannel, type Session, type SFTPWrapper } from 'ssh2';

const { utils } = ssh2;

/** What an SSH host does for who has logged in: commands through a real shell, files on the real file system. */
export function serveSession(
  session: Session,
  { cwd, env, delayMs }: { cwd: string; env: NodeJS.ProcessEnv; delayMs: () => number },
): void {
  session.on('exec', (accept, _reject, { command }) => {
    const channel: ServerChannel = accept();
    setTimeout(() => execute(channel, command, cwd, env), delayMs());
  });
  session.on('sftp', (accept) => serveFiles(accept()));
}

function execute(channel: ServerChannel, command: string, cwd: string, env: NodeJS.ProcessEnv): void {
  const child = spawn('sh', ['-c', command], { detached: true, stdio: ['pipe', 'pipe', 'pipe'], cwd, env });
  channel.pipe(child.stdin);
  child.stdin.on('error', () => undefined);
  channel.on('error', () => undefined);
  channel.on('close', () => child.stdin.end());
  child.stdout.pipe(channel, { end: false });
  child.stderr.pipe(channel.stderr, { end: false });
  child.on('error', () => channel.close());
  child.on('close', (code, signal) => {
    if (code === null) channel.exit(signal ?? 'TERM');
    else channel.exit(code);
    channel.end();
  });
}

const attributes = (stat: { mode: number; size: number }) => ({
  mode: stat.mode,
  uid: 0,
  gid: 0,
  size: stat.size,
  atime: 0,
  mtime: 0,
});

/** The requests of SFTP that this program and its like make. */
function serveFiles(sftp: SFTPWrapper): void {
  const { STATUS_CODE, OPEN_MODE } = utils.sftp;
  const attempt = (id: number, work: () => void): void => {
    try {
      work();
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      sftp.status(id, missing ? STATUS_CODE.NO_SUCH_FILE : STATUS_CODE.FAILURE, (error as Error).message);
    }
  };
  const handle = (fd: number): Buffer => {
    const buffer = Buffer.alloc(4);
    buffer.writeUInt32BE(fd);
    return buffer;
  };
  sftp.on('OPEN', (id, path, flags, attrs) =>
    attempt(id, () => {
      const write = (flags & OPEN_MODE.WRITE) !== 0;
      const mode = write ? ((flags & OPEN_MODE.EXCL) !== 0 ? 'wx' : 'w') : 'r';
      sftp.handle(id, handle(openSync(path, mode, attrs.mode)));
    }),
  );
  sftp.on('WRITE', (id, fd, offset, data) =>
    attempt(id, () => {
      writeSync(fd.readUInt32BE(), data, 0, data.length, offset);
      sftp.status(id, STATUS_CODE.OK);
    }),
  );
  sftp.on('READ', (id, fd, offset, length) =>
    attempt(id, () => {
      const buffer = Buffer.alloc(length);
      const count = readSync(fd.readUInt32BE(), buffer, 0, length, offset);
      if (count === 0) sftp.status(id, STATUS_CODE.EOF);
      else sftp.data(id, buffer.subarray(0, count));
    }),
  );
  sftp.on('CLOSE', (id, fd) =>
    attempt(id, () => {
      closeSync(fd.readUInt32BE());
      sftp.status(id, STATUS_CODE.OK);
    }),
  );
  sftp.on('FSTAT', (id, fd) => attempt(id, () => sftp.attrs(id, attributes(fstatSync(fd.readUInt32BE())))));
  sftp.on('STAT', (id, path) => attempt(id, () => sftp.attrs(id, attributes(statSync(path)))));
  sftp.on('FSETSTAT', (id) => sftp.status(id, STATUS_CODE.OK));
  const done = (id: number, work: () => void): void =>
    attempt(id, () => {
      work();
      sftp.status(id, STATUS_CODE.OK);
    });
  sftp.on('REMOVE', (id, path) => done(id, () => unlinkSync(path)));
  sftp.on('RENAME', (id, from, to) => done(id, () => renameSync(from, to)));
}
