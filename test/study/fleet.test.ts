import { expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { groupId } from '../../src/base/units.ts';
import { registry } from '../../src/compose.ts';
import { parseNodeString } from '../../src/config/host-lists.ts';
import { NodeConfig } from '../../src/config/parallel-config.ts';
import { resolveSettings } from '../../src/config/settings.ts';
import { withFleet } from '../../src/fleet.ts';
import { LoadHosts } from '../../src/load-hosts.ts';
import type { Executor, NodeProbe } from '../../src/parallel/ports.ts';
import type { JournalEntry } from '../../src/parallel/records.ts';

const input = {
  document: { values: { engine: 'emulator' }, origin: {}, files: [] },
  flags: {},
  hosts: parseNodeString('a:b'),
};
const sources = { input, settings: resolveSettings(input, registry) };
const scaled = (added: readonly [number, string][], left: readonly number[]): JournalEntry => ({
  type: 'scaled',
  at: '',
  added: added.map(([id, host]) => ({ group_id: groupId(id), hosts: [{ host }] })),
  left: left.map(groupId),
  groups: [],
});
const fleet = (...entries: readonly JournalEntry[]): string[] =>
  withFleet(sources, entries, registry).parallel.service_groups.map(
    ({ group_id: id, nodes }) => `${id}:${nodes.map(({ host }) => host).join()}`,
  );

test('a run that is resumed has the groups that it had, and none that were taken out', () => {
  expect(fleet()).toEqual(['0:a', '1:b']);
  expect(fleet(scaled([[2, 'c']], [0]), scaled([[3, 'd']], [2]))).toEqual(['1:b', '3:d']);
  expect(() => fleet(scaled([], [0, 1]))).toThrow(/All groups have left this run/);
});

test('a load host is one connection for all who wait, also when the first gives up; a lost one is opened again', async () => {
  const lost: AbortController[] = [];
  let connected: (() => void)[] = [];
  const connect = async (): Promise<Executor> => {
    const gone = new AbortController();
    lost.push(gone);
    await new Promise<void>((resolve) => connected.push(resolve));
    return { lost: gone.signal, [Symbol.asyncDispose]: async () => Promise.resolve() } as unknown as Executor;
  };
  const probe = { inspect: async () => Promise.resolve({ workDir: '/w' }) } as unknown as NodeProbe;
  await using hosts = new LoadHosts({ connector: { connect }, probe }, new NodeConfig({ host: 'n' }));
  const stop = new AbortController();
  const first = hosts.at('host:load', stop.signal);
  const second = hosts.at('host:load', never);
  stop.abort(new Error('its service died'));
  await expect(first).rejects.toThrow('its service died');
  connected.forEach((go) => go());
  expect((await second).facts.workDir).toBe('/w');
  expect(await hosts.at('host:load', never)).toBe(await second);
  expect(lost).toHaveLength(1);
  connected = [];
  lost[0]!.abort(new Error('gone'));
  const [third, fourth] = [hosts.at('host:load', never), hosts.at('host:load', never)];
  connected.forEach((go) => go());
  expect(await third).toBe(await fourth);
  expect(lost).toHaveLength(2);
});
