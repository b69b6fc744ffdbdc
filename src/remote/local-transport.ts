import { spawn } from 'node:child_process';
import { copyFile, readFile } from 'node:fs/promises';
import writeFileAtomic from 'write-file-atomic';
import { never } from '../base/cancellation.ts';
import { deferred } from '../base/condition.ts';
import type { Channel, ChannelEnd, Files, Transport } from './transport.ts';

/** This machine, without SSH. */
export class LocalTransport implements Transport {
  readonly host = '127.0.0.1';
  readonly address = '127.0.0.1';
  readonly lost: AbortSignal = never;

  readonly #open = new Set<() => void>();

  readonly files: Files = {
    read: async (path, signal) => readFile(path, { signal }),
    write: async (path, data, _signal, mode) => writeFileAtomic(path, data, { mode }),
    upload: async (local, remote) => copyFile(local, remote),
    download: async (remote, local) => copyFile(remote, local),
  };

  async open(script: string, signal: AbortSignal): Promise<Channel> {
    signal.throwIfAborted();
    const child = spawn('sh', ['-c', script], { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    const ended = deferred<ChannelEnd>();
    child.on('error', (cause) => ended.resolve({ kind: 'lost', cause }));
    child.on('close', (code, name) => {
      ended.resolve(code === null ? { kind: 'signal', name: name ?? 'unknown' } : { kind: 'code', code });
    });
    const close = (): void => {
      child.stdin.end();
      // What it left running may hold the other ends: nobody here waits for them.
      child.stdout.destroy();
      child.stderr.destroy();
    };
    this.#open.add(close);
    child.on('exit', () => this.#open.delete(close));
    return Promise.resolve({
      stdin: child.stdin,
      stdout: child.stdout,
      stderr: child.stderr,
      ended: ended.promise,
      close,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.#open) close();
    return Promise.resolve();
  }
}
