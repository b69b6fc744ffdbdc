import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCluster, type EmulatedCluster } from '../src/emulator/cluster.ts';

const root = resolve(import.meta.dirname, '..');
const library = pathToFileURL(join(root, 'dist/index.js')).href;
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => join('docs', file)),
];

const examples = ['README.md', 'docs/library.md'].flatMap((page) =>
  [...read(page).matchAll(/```js\n([\s\S]*?)```/g)].map(([, code = ''], index) => ({ page, index, code })),
);

async function run(file: string, cwd: string): Promise<{ stdout: string; stderr: string }> {
  return new Promise((done, fail) => {
    execFile(process.execPath, [file], { cwd, timeout: 30_000 }, (error, stdout, stderr) => {
      if (error === null) done({ stdout, stderr });
      else fail(new Error(`${error.message}\n${stdout}\n${stderr}`));
    });
  });
}

describe('the documentation', () => {
  let cluster: EmulatedCluster;
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-docs-'));
  beforeAll(async () => {
    cluster = await startCluster(1);
    writeFileSync(join(directory, 'hosts.txt'), 'n0\nn1\nn2\nn3\n');
    writeFileSync(
      join(directory, 'config.toml'),
      'engine = "emulator"\n[parallel]\nenabled = true\n[[parallel.service_groups]]\ngroup_id = 0\nnodes = [{ host = "n0" }]\n',
    );
  });
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
    rmSync(directory, { recursive: true, force: true });
  });

  test('has examples', () => {
    expect(examples.length).toBeGreaterThanOrEqual(7);
  });

  test.each(examples)('example $index of $page runs', async ({ index, code }) => {
    const { host, ssh_port, username, identity_file, known_hosts_file } = cluster.nodeConfig(0);
    const node = JSON.stringify({ host, ssh_port, username, identity_file, known_hosts_file });
    const file = join(directory, `example-${index}.mjs`);
    const runnable = code
      .replaceAll("'llm-serving-optimizer'", JSON.stringify(library))
      .replace("{ host: 'node0' }", node)
      .replaceAll(/await using (\w+) = /g, 'const $1 = ') // Node 20 runs it compiled only
      .concat(
        /await using (\w+)/.exec(code) === null
          ? ''
          : `\nawait ${/await using (\w+)/.exec(code)?.[1]}[Symbol.asyncDispose]();\n`,
      );
    writeFileSync(file, runnable);
    const { stdout, stderr } = await run(file, directory);
    expect(stderr).toBe('');
    expect(stdout).not.toBe('');
    expect(stdout).not.toMatch(/^false$/m);
  });

  test('every link leads somewhere', () => {
    const dead = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)]
        .map(([, target = '']) => join(dirname(page), target))
        .filter((target) => !existsSync(join(root, target)))
        .map((target) => `${page}: ${target}`),
    );
    expect(dead).toEqual([]);
  });
});
