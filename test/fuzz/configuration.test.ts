import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, test } from 'vitest';
import { registry } from '../../src/compose.ts';
import {
  hostsOfAllocation,
  parseHostfile,
  parseNodeString,
  readHostfile,
} from '../../src/config/host-lists.ts';
import { hostLine } from '../../src/config/host-syntax.ts';
import { resolveSettings } from '../../src/config/settings.ts';
import { parseToml } from '../../src/config/toml.ts';
import { almost, answersOrExplains, mutation, read } from './arbitraries.ts';

const name = fc.oneof(
  fc.constantFrom('n0', '10.0.0.1', '[fe80::1]', '[::1]:22', 'n:2', 'me@n', 'n0 # new', '#', ''),
  fc.constantFrom('n[1-3]', 'n[01-08/2]', 'n[1:5:2]', 'n[a:c]', 'n[9-1]', 'n[b:a]', 'n[1-2/0]', 'n[1-99999]'),
  fc.constantFrom(
    'n[0-99]m[0-999]',
    'n slots=2',
    'n port=1 user=u',
    'max_slots=1',
    'ansible_port=0',
    '@g',
    'n!m',
  ),
  fc.constantFrom('me@[::1]:9', 'n port=9 user=me slots=1', 'slots=0', 'x=1', 'n[1', '!@n', 'n[z]', '::1'),
  fc.string({ maxLength: 5 }),
);

describe('configuration', () => {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-fuzz-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  const hosts =
    '# the rack\nme@node0 slots=4\nrack[01-03],r[0-4/2]\nnode1 # new\n\n10.0.0.1\n[fe80::1]\nnode-2.example.org\n';
  test('hostfiles', () =>
    answersOrExplains(
      ([text, nodes]) =>
        parseHostfile(text, nodes, 'hosts.txt').groups.flatMap((group) => group.hosts.map(hostLine)),
      fc.tuple(
        almost(
          [hosts, read('hostfile.example')],
          fc.array(name, { maxLength: 8 }).map((lines) => lines.join('\n')),
        ),
        fc.constantFrom(1, 2, 3, 0, 1.5, NaN),
      ),
      /hosts\.txt|host|nodes_per_group/i,
    ));

  test('selections among hosts, and an allocation', () => {
    const selection = almost(
      ['a:0,1@b[0-2]:1-3@[::1]:2', 'a@b1'],
      fc
        .array(fc.constantFrom('a', 'b0', 'b1:0', ':', '9', 'x:y'), { maxLength: 4 })
        .map((some) => some.join('@')),
    );
    const env = (list: string | undefined, gpus: string): Record<string, string | undefined> => ({
      SLURM_JOB_NODELIST: list,
      SLURM_GPUS_ON_NODE: gpus,
    });
    answersOrExplains(
      ({ include, exclude, isList, list, gpus }) => {
        if (isList) hostsOfAllocation(env(list, gpus), 1, { include });
        parseHostfile('a b[0-2] [::1]', 1, 'hosts.txt', { include, exclude });
        parseNodeString('a,b0:b[1-2],[::1]', { include, exclude });
      },
      fc.record({
        include: fc.option(selection, { nil: undefined }),
        exclude: fc.option(selection, { nil: undefined }),
        isList: fc.boolean(),
        list: fc.option(almost(['n[1-3]']), { nil: undefined }),
        gpus: fc.string(),
      }),
      undefined,
      [
        { include: undefined, exclude: 'a', isList: true, list: 'n[1-3]', gpus: '4' },
        { include: 'a:0,1@b0', exclude: 'a:0', isList: true, list: undefined, gpus: '' },
        { include: 'a@b0', exclude: undefined, isList: true, list: 'a,b0', gpus: 'x' },
      ],
    );
  });

  test('hostfiles on disk', () => {
    const path = join(directory, 'hosts');
    answersOrExplains(
      ([text, there]) => {
        if (there) writeFileSync(path, text);
        else rmSync(path, { force: true });
        readHostfile(path, 2);
      },
      fc.tuple(almost([hosts]), fc.boolean()),
      /hosts/,
    );
  });

  test('node strings', () =>
    answersOrExplains(
      (text) => parseNodeString(text),
      almost(
        ['n0,n1:n2,n3', 'a:b:c', '[fe80::1],[fe80::2]:c,d'],
        fc
          .array(fc.array(name, { maxLength: 3 }), { maxLength: 4 })
          .map((groups) => groups.map((group) => group.join(',')).join(':')),
      ),
    ));

  test('TOML', () => {
    const docs = resolve(import.meta.dirname, '../../docs/engines');
    const valid = [
      read('config.example.toml'),
      ...readdirSync(docs).flatMap((file) =>
        [...read(`docs/engines/${file}`).matchAll(/```toml\n([\s\S]*?)```/g)].map(([, text]) => text ?? ''),
      ),
    ];
    answersOrExplains(
      (text) => parseToml('config.toml', text),
      almost(valid),
      /config\.toml: line \d+, column \d+/,
    );
  });

  test('whole configurations', () =>
    answersOrExplains(
      (text) =>
        resolveSettings(
          {
            document: { values: parseToml('config.toml', text), origin: {}, files: ['config.toml'] },
            flags: {},
            hosts: undefined,
          },
          registry,
        ),
      mutation(read('config.example.toml')),
    ));
});
