import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, test } from 'vitest';
import { registry } from '../../src/compose.ts';
import { parseHostfile, parseNodeString, readHostfile } from '../../src/config/host-lists.ts';
import { resolveSettings } from '../../src/config/settings.ts';
import { parseToml } from '../../src/config/toml.ts';
import { almost, answersOrExplains, mutation, read } from './arbitraries.ts';

const name = fc.oneof(
  fc.constantFrom('n0', '10.0.0.1', '[fe80::1]', 'n:2', 'me@n', 'n0 # new', '#', ''),
  fc.string({ maxLength: 5 }),
);

describe('configuration', () => {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-fuzz-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  const hosts = '# the rack\nnode0\nnode1 # new\n\n10.0.0.1\n[fe80::1]\nnode-2.example.org\n';
  test('hostfiles', () =>
    answersOrExplains(
      ([text, nodes]) => parseHostfile(text, nodes, 'hosts.txt'),
      fc.tuple(
        almost(
          [hosts, read('hostfile.example')],
          fc.array(name, { maxLength: 8 }).map((lines) => lines.join('\n')),
        ),
        fc.constantFrom(1, 2, 3, 0, 1.5, NaN),
      ),
      /hosts\.txt|host|nodes_per_group/i,
    ));

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
      parseNodeString,
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
