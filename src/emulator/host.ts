import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import ssh2, { type Connection } from 'ssh2';
import { broken } from '../base/assert.ts';
import { serveSession } from './ssh-session.ts';

const { Server, utils } = ssh2;

export interface KeyPair {
  readonly private: string;
  readonly public: string;
}

/** ssh2 makes a malformed ed25519 key once in 256 calls. */
export function keyPair(): KeyPair {
  for (;;) {
    const pair = utils.generateKeyPairSync('ed25519');
    if (!(utils.parseKey(pair.private) instanceof Error)) return pair;
  }
}

/** The bytes of a public key, as they go over the wire. */
export function publicBytes({ public: text }: KeyPair): Buffer {
  const parsed = utils.parseKey(text);
  if (parsed instanceof Error) throw broken(`an unusable key: ${parsed.message}`);
  return parsed.getPublicSSH();
}

/** An SSH host on this machine, with knobs for what goes wrong with hosts. */
export interface EmulatedHost extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Its own files; commands start here. */
  readonly directory: string;
  readonly hostKey: KeyPair;
  /** Connections so far. */
  readonly connections: number;
  /** Processes that commands of this host started, and theirs. */
  processes(): number[];
  /** The machine goes down: every process of it ends, every connection is cut, nobody gets in. */
  kill(): void;
  /** It comes back, without what ran on it. */
  revive(): void;
  /** Cuts all connections at once, as a link does that comes back. */
  drop(): void;
  /** Refuses new connections. */
  refuse(refusing: boolean): void;
  /** Every command starts so much later. */
  slow(delayMs: number): void;
}

const marker = 'OPTIMIZER_EMULATED_HOST';

/** Living processes whose environment carries the mark. Of one that is just becoming another program it is empty. */
function marked(mark: string): number[] {
  const first = look(mark);
  return first.length > 0 ? first : look(mark);
}

function look(mark: string): number[] {
  const wanted = `${marker}=${mark}`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(wanted);
      } catch {
        return false; // gone, or another user's
      }
    })
    .map(Number);
}

export async function startHost(options: {
  readonly address: string;
  /** 0: any free one. */
  readonly port: number;
  readonly directory: string;
  readonly clientKey: KeyPair;
}): Promise<EmulatedHost> {
  const { address, directory } = options;
  mkdirSync(directory, { recursive: true });
  const hostKey = keyPair();
  const allowed = publicBytes(options.clientKey);
  const clients = new Set<Connection>();
  const sockets = new Set<Socket>();
  let [connections, refusing, delayMs] = [0, false, 0];
  const mark = `${process.pid}/${address}/${directory}`;
  const env = { ...process.env, [marker]: mark };
  const server = new Server({ hostKeys: [hostKey.private] }, (client) => {
    clients.add(client);
    connections++;
    client.on('error', () => undefined);
    client.on('close', () => clients.delete(client));
    client.on('authentication', (context) => {
      if (context.method === 'publickey' && context.key.data.equals(allowed)) context.accept();
      else context.reject(['publickey']);
    });
    client.on('ready', () =>
      client.on('session', (accept) =>
        serveSession(accept(), { cwd: directory, env, delayMs: () => delayMs }),
      ),
    );
  });
  // In front of the server, so that a refusal is one of TCP.
  const front = createServer((socket) => {
    if (refusing) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    socket.setNoDelay(true);
    server.injectSocket(socket);
  });
  await new Promise<void>((resolve, reject) => {
    front.once('error', reject);
    front.listen(options.port, address, resolve);
  });
  const { port } = front.address() as { port: number };

  const drop = (): void => sockets.forEach((socket) => socket.destroy());
  const endAll = (): void => {
    // Again until none is left: a process may start another one while it is being looked for.
    for (let found = marked(mark), round = 0; found.length > 0 && round < 50; found = marked(mark), round++) {
      for (const pid of found) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // it ended by itself
        }
      }
    }
  };
  return {
    address,
    port,
    directory,
    hostKey,
    get connections() {
      return connections;
    },
    processes: () => marked(mark),
    kill() {
      refusing = true;
      drop();
      endAll();
    },
    revive: () => (refusing = false),
    drop,
    refuse: (now) => (refusing = now),
    slow: (by) => (delayMs = by),
    async [Symbol.asyncDispose]() {
      endAll();
      for (const client of clients) client.end();
      drop();
      await new Promise<void>((resolve) => front.close(() => resolve()));
    },
  };
}
