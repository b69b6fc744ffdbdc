import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

/** A real podman, where it runs: its image has nothing in it, what it needs of this machine is mounted. */

const image = 'localhost/optimizer-test-root:latest';
const client = ['/usr/bin/podman', '--runtime', 'runc', '--storage-driver', 'vfs'];
const limits = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];
const project = resolve(import.meta.dirname, '../..');
const node = resolve(dirname(process.execPath), '..');
const mounts = ['/usr', project, ...(node.startsWith('/usr') ? [] : [node])];

export interface RealPodman {
  readonly image: string;
  /** Words for `[runtime] args`. */
  readonly args: readonly string[];
  /** A script to stand for `podman` on a node's PATH. */
  readonly script: string;
  /** Ids of containers that run, by a label. */
  running(label: string): string[];
}

function podman(...words: string[]): string {
  const [command, ...first] = client as [string, ...string[]];
  return execFileSync(command, [...first, ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

function importImage(): void {
  const root = mkdtempSync(join(tmpdir(), 'optimizer-root-'));
  try {
    for (const name of ['etc', 'tmp', 'proc', 'sys', 'dev', 'usr', 'root']) mkdirSync(join(root, name));
    for (const name of ['bin', 'sbin', 'lib', 'lib64']) symlinkSync(`usr/${name}`, join(root, name));
    const archive = `${root}.tar`;
    execFileSync('tar', ['-C', root, '-cf', archive, '.']);
    podman('import', archive, image);
    rmSync(archive);
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** undefined where it is missing or may not run. */
export function realPodman(directories: readonly string[]): RealPodman | undefined {
  if (process.env['OPTIMIZER_TEST_SSHD'] !== '1') return undefined;
  const volumes = [
    ...mounts.map((path) => `${path}:${path}:ro`),
    ...directories.map((path) => `${path}:${path}`),
  ];
  const args = [...limits, ...volumes.flatMap((volume) => ['--volume', volume])];
  try {
    importImage();
    podman(
      'run',
      '--rm',
      '--network',
      'host',
      '--ipc',
      'host',
      ...limits,
      '--volume',
      '/usr:/usr:ro',
      image,
      'true',
    );
  } catch {
    return undefined;
  }
  return {
    image,
    args,
    script: `#!/bin/sh\nexec ${client.join(' ')} "$@"\n`,
    running: (label) => podman('ps', '-q', '--filter', `label=${label}`).split('\n').filter(Boolean),
  };
}
