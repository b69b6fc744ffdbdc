import { describe, expect, test } from 'vitest';
import { hostsOfAllocation, parseHostfile, parseNodeString } from '../../src/config/host-lists.ts';
import { hostLine, parseHosts, type HostEntry } from '../../src/config/host-syntax.ts';
import { ParallelConfig } from '../../src/config/parallel-config.ts';

const entries = (text: string): HostEntry[] =>
  parseHostfile(text, 1, 'hosts.txt').groups.flatMap(({ hosts }) => hosts);
const names = (text: string): string[] => entries(text).map(({ host }) => host);

describe('hosts as other tools write them', () => {
  test.each<[string, string, HostEntry[]]>([
    ['a name', 'node01', [{ host: 'node01' }]],
    ['Open MPI, DeepSpeed', 'worker-1 slots=4 max_slots=8', [{ host: 'worker-1', slots: 4 }]],
    ['a user', 'me@node01', [{ host: 'node01', user: 'me' }]],
    ['a port', 'node01 port=2222', [{ host: 'node01', port: 2222 }]],
    ['all of it', 'me@node01 port=22 slots=2', [{ host: 'node01', user: 'me', port: 22, slots: 2 }]],
    ['IPv6', 'fe80::1', [{ host: 'fe80::1' }]],
    ['IPv6 in brackets', '[fe80::1%eth0]', [{ host: 'fe80::1%eth0' }]],
    ['IPv6 with a port', 'me@[::1]:2222', [{ host: '::1', user: 'me', port: 2222 }]],
    ['Ansible', 'web ansible_port=23 ansible_user=op', [{ host: 'web', port: 23, user: 'op' }]],
    [
      'attributes of a range',
      'n[1-2] slots=4',
      [
        { host: 'n1', slots: 4 },
        { host: 'n2', slots: 4 },
      ],
    ],
    ['attributes of one of two', 'a b slots=4', [{ host: 'a' }, { host: 'b', slots: 4 }]],
  ])('%s', (_name, text, expected) => expect(entries(text)).toEqual(expected));

  test.each<[string, string, string]>([
    ['zeros are kept', 'node[08-11]', 'node08 node09 node10 node11'],
    ['a step, as ClusterShell has it', 'node[0-6/2]', 'node0 node2 node4 node6'],
    ['Slurm', 'tux[0-2,12,20-21],linux', 'tux0 tux1 tux2 tux12 tux20 tux21 linux'],
    ['Intel MPI', 'hostA[01-02],hostB', 'hostA01 hostA02 hostB'],
    ['Ansible', 'www[01:03].example.com', 'www01.example.com www02.example.com www03.example.com'],
    ['Ansible, with a step', 'www[1:5:2]', 'www1 www3 www5'],
    ['Ansible, letters', 'db-[a:c]', 'db-a db-b db-c'],
    ['a range in front', '[01:02].example.com', '01.example.com 02.example.com'],
    ['two brackets', 'r[1-2]n[1-2]', 'r1n1 r1n2 r2n1 r2n2'],
    ['several on a line, and comments', '# all\na b,c # three\r\n\nd', 'a b c d'],
  ])('%s', (_name, text, expected) => expect(names(text)).toEqual(expected.split(' ')));

  test.each<[string, string, RegExp]>([
    [
      'a count or a port',
      'a\nnode01:8',
      /hosts\.txt: line 2, column 1: "node01:8" → 'node01 port=8' .*'node01 slots=8'/,
    ],
    ['its column', 'a  b:2', /line 1, column 4: "b:2"/],
    ['a range downwards', 'n[8-1]', /column 1: "n\[8-1\]" → a range that goes upwards/],
    ['a bracket that is open', 'n[1-2', /brackets that are closed/],
    ['no range', 'n[x]', /a range such as \[1-8\]/],
    ['a step of nothing', 'n[0-4/0]', /a step of at least 1/],
    ['too many', 'n[0-999999999]', /at most 10000 hosts/],
    ['too many together', 'n[0-999][0-999]', /at most 10000 hosts/],
    ['a port out of range', 'n port=70000', /column 3: "port=70000" → a port from 1 to 65535/],
    ['a port of an address', '[::1]:x', /a port from 1/],
    ['no devices', 'n slots=0', /slots=N with N from 1/],
    [
      'an attribute that we do not know',
      'n ansible_host=1.2.3.4',
      /slots=, port= or user= .*~\/\.ssh\/config/,
    ],
    ['an attribute of nothing', 'slots=4', /a host before slots=/],
    ['groups of ClusterShell', '@rack', /nodeset -e/],
    ['its operators', 'n[1-3]!n2', /nodeset -e/],
    ['a command', 'n;reboot', /a host name or address/],
    ['a host twice', 'n[1-3]\nn2', /line 2, column 1: "n2" → each host once: it is also at line 1, column 1/],
  ])('refused: %s', (_name, text, message) => expect(() => entries(text)).toThrow(message));

  test('every thing wrong is told at once', () => {
    expect(() => entries('a:1\nb\nc:2 d:3')).toThrow(
      /3 problems:[^]*line 1[^]*line 3, column 1[^]*line 3, column 5/,
    );
  });

  test('a hostfile is written as it is read', () => {
    const all = entries('me@node01 port=22 slots=2\nn[1-2]\n[::1]:2222');
    expect(entries(all.map(hostLine).join('\n'))).toEqual(all);
  });
});

describe('--node-string', () => {
  const groups = (text: string): string[] =>
    parseNodeString(text).groups.map(({ hosts }) => hosts.map(hostLine).join(','));
  test.each([
    ['n0,n1:n2,n3', ['n0,n1', 'n2,n3']],
    ['node[01-02]:node[03:04]', ['node01,node02', 'node03,node04']],
    ['[::1],me@[::2]:c', ['[::1],me@[::2]', 'c']],
    ['a port=2222,b slots=4:c', ['a port=2222,b slots=4', 'c']],
  ])('%s', (text, expected) => expect(groups(text)).toEqual(expected));

  test('a number after a colon is no host', () => {
    expect(() => groups('n0:8')).toThrow(
      /group 1, column 4: "8" → a host: colons go between groups; a port is 'host port=8'/,
    );
    expect(() => groups('n0:n1,:x:y;z')).toThrow(/group 3, column 10: "y;z"/);
  });
});

describe('which of them', () => {
  const nodes = (text: string, selection: object) =>
    ParallelConfig.fromHosts(parseHostfile(text, 1, 'hosts.txt', selection).groups, { npusPerNode: 4 })
      .service_groups.flatMap((group) => group.nodes)
      .map((node) => `${node.host}:${node.npu_ids.join(',')}`);

  test('slots are the devices of a host; --npus-per-node is for the others', () => {
    expect(nodes('a slots=2\nb', {})).toEqual(['a:0,1', 'b:0,1,2,3']);
  });
  test.each([
    [{ include: 'b:0,2@c' }, ['b:0,2', 'c:0,1,2,3']],
    [{ include: 'a:0-2' }, ['a:0,1,2']],
    [{ exclude: 'a@b:1' }, ['b:0,2,3', 'c:0,1,2,3']],
    [{ include: '[a:b]', exclude: 'b:0' }, ['a:0,1,2,3', 'b:1,2,3']],
  ])('%o', (selection, expected) => expect(nodes('a b c', selection)).toEqual(expected));
  test.each([
    [
      { include: 'aa' },
      /--include: "aa" → one of the hosts given \(did you mean 'a'\?\)|one of the hosts given/,
    ],
    [{ include: 'a:x' }, /--include: column 1: "a:x"/],
    [{ exclude: 'b@a:' }, /--exclude: column 3: "a:"/],
    [{ exclude: 'a:0-3' }, /no device of a is left/],
    [{ exclude: 'a@b@c' }, /Not enough hosts \(0\)/],
  ])('refused: %o', (selection, message) => expect(() => nodes('a b c', selection)).toThrow(message));

  test('a node string keeps its groups', () => {
    const { groups } = parseNodeString('a,b:c,d', { exclude: 'a@c@d' });
    expect(groups).toEqual([{ groupId: 0, hosts: [{ host: 'b' }] }]);
  });
});

describe("Slurm's allocation", () => {
  test('its nodes and their devices', () => {
    const env = { SLURM_JOB_ID: '7', SLURM_JOB_NODELIST: 'gpu[01-04]', SLURM_GPUS_ON_NODE: '4' };
    const found = hostsOfAllocation(env, 2);
    expect(found?.groups).toHaveLength(2);
    expect(found?.groups[1]?.hosts).toEqual([
      { host: 'gpu03', slots: 4 },
      { host: 'gpu04', slots: 4 },
    ]);
    expect(found?.warnings).toEqual(["hosts of Slurm's allocation 7: gpu[01-04]"]);
    expect(hostsOfAllocation({}, 2)).toBeUndefined();
  });
});

test('a line that cannot be read hides no other', () => {
  const { hosts, problems } = parseHosts('a:1 b');
  expect(problems).toHaveLength(1);
  expect(hosts).toEqual([{ host: 'b', column: 5 }]);
});
