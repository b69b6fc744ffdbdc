import { expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { Executor, Forwarding, HttpProbe } from '../../src/parallel/ports.ts';
import { Reach, type ForwardPolicy } from '../../src/parallel/reach.ts';

interface Asked {
  readonly policy?: ForwardPolicy;
  /** What answers at the node's own address, after so many ms; undefined: nothing. */
  readonly straight?: number | undefined;
  readonly listens?: boolean;
  readonly isOnlyWay?: boolean;
  /** Places that the node reaches. */
  readonly reaches?: readonly string[];
}

function made({ policy = 'auto', straight, listens = false, isOnlyWay = false, reaches = [] }: Asked) {
  const asked: string[] = [];
  const notes: string[] = [];
  const http: HttpProbe = {
    status: async (url) => {
      asked.push(url);
      if (url.startsWith('http://127.0.0.1:4242/')) return 200;
      if (straight === undefined) return undefined;
      await systemClock.sleep(straight as never, never);
      return 200;
    },
    text: async () => Promise.resolve(undefined),
    listens: async () => Promise.resolve(listens),
  };
  const forwarding: Forwarding = {
    isOnlyWay,
    reaches: async (host, port) => Promise.resolve(reaches.includes(`${host}:${port}`)),
    port: async () => Promise.resolve(4242),
  };
  const master = { forwarding } as unknown as Executor;
  const onForward = (place: string): void => void notes.push(place);
  const reach = new Reach(http, () => master, { policy, clock: systemClock, onForward });
  return { reach, asked, notes };
}

const url = 'http://node:8000/health';
const target = { baseUrl: 'http://node:8000', model: undefined };

test('what answers straight is asked straight for ever', async () => {
  const { reach, asked, notes } = made({ straight: 5, reaches: ['node:8000'] });
  expect(await reach.status(url, never)).toBe(200);
  expect(await reach.target(target, never)).toEqual(target);
  expect(asked).toEqual([url]);
  expect(notes).toEqual([]);
});

test('what does not answer is looked for through the node, at its address and on its loopback', async () => {
  const { reach, asked, notes } = made({ reaches: ['127.0.0.1:8000'] });
  expect(await reach.status(url, never)).toBe(200);
  expect(await reach.status(url, never)).toBe(200);
  expect(asked).toEqual([url, 'http://127.0.0.1:4242/health', 'http://127.0.0.1:4242/health']);
  expect(notes).toEqual(['node:8000']);
  expect((await reach.target(target, never)).baseUrl).toBe('http://127.0.0.1:4242');
});

test('what takes its time is waited for: a detour would be in its latencies', async () => {
  const { reach, notes } = made({ straight: 1300, listens: true, reaches: ['node:8000'] });
  expect(await reach.status(url, never)).toBe(200);
  expect(notes).toEqual([]);
  expect(reach.isForwarded).toBe(false);
});

test('behind a jump host nothing is asked straight: the address may be another machine', async () => {
  const { reach, asked } = made({ isOnlyWay: true, straight: 1, listens: true, reaches: ['node:8000'] });
  expect(await reach.listens('node', 8000, never)).toBe(true);
  expect(await reach.listens('node', 9, never)).toBe(false);
  await reach.status(url, never);
  expect(asked).toEqual(['http://127.0.0.1:4242/health']);
});

test('never forwards where that is not wanted; always where it is', async () => {
  const no = made({ policy: 'never', reaches: ['node:8000'] });
  expect(await no.reach.status(url, never)).toBeUndefined();
  const yes = made({ policy: 'always', straight: 1, listens: true, reaches: ['node:8000'] });
  await yes.reach.status(url, never);
  expect(yes.asked).toEqual(['http://127.0.0.1:4242/health']);
});
