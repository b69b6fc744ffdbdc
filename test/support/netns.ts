import { execFileSync, spawnSync } from 'node:child_process';
import { userInfo } from 'node:os';
import type { Network } from './sshd.ts';

/** Network namespaces: every host an address of its own, and links that can be cut. Needs root and iproute2. */

export interface Namespaces extends Network, Disposable {
  /** Nothing gets through any more, and nobody is told: no FIN, no RST. */
  cut(index: number): void;
  heal(index: number): void;
}

const ip = (...words: readonly string[]): void => {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });
};

let made = 0;

export function namespacesAreAvailable(): boolean {
  if (userInfo().uid !== 0) return false;
  const name = `oprobe${process.pid}`;
  const works = spawnSync('ip', ['netns', 'add', name], { stdio: 'ignore' }).status === 0;
  if (works) ip('netns', 'del', name);
  return works;
}

export function startNamespaces(count: number): Namespaces {
  const mark = `${process.pid}x${made++}`;
  const controller = `oc${mark}`;
  const host = (index: number): string => `on${mark}-${index}`;
  const link = (index: number): string => `v${process.pid % 100_000}x${made}-${index}`;
  const names = [controller, ...Array.from({ length: count }, (_, index) => host(index))];
  const remove = (): void => {
    for (const name of names) {
      const pids = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).stdout;
      for (const pid of pids.split('\n').filter(Boolean)) {
        try {
          process.kill(Number(pid), 'SIGKILL');
        } catch {
          // gone already
        }
      }
      spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
    }
  };
  try {
    ip('netns', 'add', controller);
    ip('-n', controller, 'link', 'set', 'lo', 'up');
    ip('-n', controller, 'link', 'add', 'br0', 'type', 'bridge');
    ip('-n', controller, 'addr', 'add', '10.77.0.1/24', 'dev', 'br0');
    ip('-n', controller, 'link', 'set', 'br0', 'up');
    for (let index = 0; index < count; index++) {
      ip('netns', 'add', host(index));
      ip('-n', host(index), 'link', 'set', 'lo', 'up');
      ip(
        '-n',
        controller,
        'link',
        'add',
        link(index),
        'type',
        'veth',
        'peer',
        'name',
        'eth0',
        'netns',
        host(index),
      );
      ip('-n', controller, 'link', 'set', link(index), 'master', 'br0', 'up');
      ip('-n', host(index), 'addr', 'add', `10.77.0.${11 + index}/24`, 'dev', 'eth0');
      ip('-n', host(index), 'link', 'set', 'eth0', 'up');
    }
  } catch (error) {
    remove();
    throw error;
  }
  return {
    onController: ['ip', 'netns', 'exec', controller],
    address: (index) => `10.77.0.${11 + index}`,
    on: (index) => ['ip', 'netns', 'exec', host(index)],
    cut: (index) => ip('-n', controller, 'link', 'set', link(index), 'down'),
    heal: (index) => ip('-n', controller, 'link', 'set', link(index), 'up'),
    [Symbol.dispose]: remove,
  };
}
