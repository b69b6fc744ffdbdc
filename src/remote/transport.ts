import type { Forwarding } from '../parallel/ports.ts';
import type { Readable, Writable } from 'node:stream';

export type ChannelEnd =
  | { readonly kind: 'code'; readonly code: number }
  | { readonly kind: 'signal'; readonly name: string }
  | { readonly kind: 'lost'; readonly cause: Error };

/** A running `sh -c` on a machine. Both outputs must be read. */
export interface Channel {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** When both outputs have ended and the exit is known. Never rejects. */
  readonly ended: Promise<ChannelEnd>;
  /** Lets go of it; the remote process may go on. */
  close(): void;
}

export interface Files {
  read(path: string, signal: AbortSignal): Promise<Buffer>;
  /** temp + rename; @throws with code ENOENT when the parent is missing */
  write(path: string, data: Buffer, signal: AbortSignal, mode: number): Promise<void>;
  upload(local: string, remote: string, signal: AbortSignal): Promise<void>;
  download(remote: string, local: string, signal: AbortSignal): Promise<void>;
}

/** How to get a shell on a machine: what SSH and this machine have in common. */
export interface Transport extends AsyncDisposable {
  readonly host: string;
  readonly address: string;
  /** Aborts when the machine is lost. */
  readonly lost: AbortSignal;
  readonly forwarding?: Forwarding | undefined;
  open(script: string, signal: AbortSignal): Promise<Channel>;
  readonly files: Files;
}
