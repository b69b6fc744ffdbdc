import { spawn } from 'node:child_process';
import { createServer, type Socket } from 'node:net';
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import ssh2, { type Connection, type ServerChannel } from 'ssh2';
import { NodeConfig } from '../../src/config/parallel-config.ts';
import { hostLabel } from '../../src/remote/known-hosts.ts';

const { Server, utils } = ssh2;

/** ssh2 makes a malformed ed25519 key once in 256 calls. */
function keyPair(): { private: string; public: string } {
  for (;;) {
    const pair = utils.generateKeyPairSync('ed25519');
    if (!(utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

export interface TestSshServer extends AsyncDisposable {
  readonly node: NodeConfig;
  readonly directory: string;
  readonly knownHosts: string;
  readonly hostKey: string;
  readonly connections: number;
  /** Drops all connections at once, as a cut link that comes back does. */
  drop(): void;
  refuse(refusing: boolean): void;
}

/** The real protocol in this process: exec through a real shell, SFTP on the real file system. */
export async function startSshServer(): Promise<TestSshServer> {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-ssh-'));
  const hostKey = keyPair();
  const clientKey = keyPair();
  const clients = new Set<Connection>();
  const sockets = new Set<Socket>();
  let connections = 0;
  let refusing = false;
  const server = new Server({ hostKeys: [hostKey.private] }, (client) => {
    clients.add(client);
    connections++;
    client.on('error', () => undefined);
    client.on('close', () => clients.delete(client));
    const allowed = utils.parseKey(clientKey.public);
    client.on('authentication', (context) => {
      const ours =
        context.method === 'publickey' &&
        !(allowed instanceof Error) &&
        context.key.data.equals(allowed.getPublicSSH());
      if (ours) context.accept();
      else context.reject(['publickey']);
    });
    client.on('ready', () => client.on('session', (accept) => serveSession(accept())));
  });
  // In front of the server, so that a refusal is one of TCP.
  const front = createServer((socket) => {
    if (refusing) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.setNoDelay(true);
    server.injectSocket(socket);
  });
  await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
  const { port } = front.address() as { port: number };
  const identity = join(directory, 'id');
  const knownHosts = join(directory, 'known_hosts');
  writeFileSync(identity, clientKey.private, { mode: 0o600 });
  const publicKey = utils.parseKey(hostKey.public);
  if (publicKey instanceof Error) throw publicKey;
  const key = publicKey.getPublicSSH().toString('base64');
  writeFileSync(knownHosts, `${hostLabel('127.0.0.1', port)} ssh-ed25519 ${key}\n`);
  return {
    node: new NodeConfig({
      host: '127.0.0.1',
      ssh_port: port,
      username: userInfo().username,
      identity_file: identity,
      known_hosts_file: knownHosts,
      work_dir: join(directory, 'work'),
    }),
    directory,
    knownHosts,
    hostKey: key,
    get connections() {
      return connections;
    },
    drop: () => sockets.forEach((socket) => socket.destroy()),
    refuse: (now) => (refusing = now),
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.end();
      sockets.forEach((socket) => socket.destroy());
      await new Promise<void>((resolve) => front.close(() => resolve()));
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function serveSession(session: ssh2.Session): void {
  session.on('exec', (accept, _reject, { command }) => {
    const channel: ServerChannel = accept();
    const child = spawn('sh', ['-c', command], { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    channel.pipe(child.stdin);
    child.stdin.on('error', () => undefined);
    channel.on('error', () => undefined);
    channel.on('close', () => child.stdin.end());
    child.stdout.pipe(channel, { end: false });
    child.stderr.pipe(channel.stderr, { end: false });
    child.on('close', (code, signal) => {
      if (code === null) channel.exit(signal ?? 'TERM');
      else channel.exit(code);
      channel.end();
    });
  });
  session.on('sftp', (accept) => serveFiles(accept()));
}

function serveFiles(sftp: ssh2.SFTPWrapper): void {
  const { STATUS_CODE, OPEN_MODE } = utils.sftp;
  const handles = new Map<number, number>();
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
    handles.set(fd, fd);
    return buffer;
  };
  const attributes = (stat: { mode: number; size: number }) => ({
    mode: stat.mode,
    uid: 0,
    gid: 0,
    size: stat.size,
    atime: 0,
    mtime: 0,
  });
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
  sftp.on('REMOVE', (id, path) => attempt(id, () => (unlinkSync(path), sftp.status(id, STATUS_CODE.OK))));
  sftp.on('RENAME', (id, from, to) =>
    attempt(id, () => (renameSync(from, to), sftp.status(id, STATUS_CODE.OK))),
  );
}
