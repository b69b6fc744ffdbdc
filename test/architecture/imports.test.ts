import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../../src');

/** Floors of docs/architecture.md: imports point downward only. */
const floors: Readonly<Record<string, number>> = {
  base: 0,
  core: 1,
  config: 1,
  parallel: 2,
  study: 2,
  remote: 3,
  engines: 3,
  benchmarks: 3,
  runs: 3,
  report: 3,
  ui: 3,
  emulator: 3,
  simulation: 3,
  '': 4,
  cli: 5,
};
/** Pure parts that a neighbour on the same floor may use. */
const neighbours: Readonly<Record<string, readonly string[]>> = { config: ['core'], study: ['parallel'] };
/** What floor 3 may know of floor 2: the ports and their records. */
const ports = ['parallel/ports.ts', 'parallel/records.ts', 'parallel/candidates.ts'];

interface Import {
  readonly from: string;
  readonly to: string;
  readonly typeOnly: boolean;
}

// lint.test.ts plants its own for a moment.
const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
  (file) => file.endsWith('.ts') && !file.includes('/planted-'),
);
const text = (file: string): string => readFileSync(join(root, file), 'utf8');
const folder = (file: string): string => (file.includes('/') ? (file.split('/')[0] ?? '') : '');

const imports: Import[] = files.flatMap((from) =>
  [...text(from).matchAll(/^(?:import|export)\s+(type\s)?[^;]*?from\s+'(\.[^']+)'/gms)].map(
    ([, type, path]) => ({
      from,
      to: relative(root, resolve(root, dirname(from), path!)),
      typeOnly: type !== undefined,
    }),
  ),
);

function allowed({ from, to }: Import): boolean {
  const [a, b] = [folder(from), folder(to)];
  if (a === b) return true;
  const [high, low] = [floors[a], floors[b]];
  if (high === undefined || low === undefined) return false;
  if (from.startsWith('engines/emulator/') && b === 'emulator') return true;
  if (high === 3 && low === 2) return ports.includes(to);
  return low < high || (neighbours[a]?.includes(b) ?? false);
}

describe('the house', () => {
  test('every folder has a floor', () => {
    expect(files.filter((file) => floors[folder(file)] === undefined)).toEqual([]);
    expect(imports.length).toBeGreaterThan(200);
  });

  test('imports point downward only', () => {
    expect(imports.filter((one) => !allowed(one)).map(({ from, to }) => `${from} → ${to}`)).toEqual([]);
  });

  test('an upward import would be found', () => {
    expect(allowed({ from: 'core/pso/pso.ts', to: 'config/schema.ts', typeOnly: false })).toBe(false);
    expect(allowed({ from: 'parallel/evaluation.ts', to: 'remote/quote.ts', typeOnly: false })).toBe(false);
    expect(allowed({ from: 'remote/quote.ts', to: 'runs/csv.ts', typeOnly: false })).toBe(false);
    expect(allowed({ from: 'runs/csv.ts', to: 'parallel/service-group.ts', typeOnly: false })).toBe(false);
  });

  test('the command line alone loads nothing heavy: help and version come at once', () => {
    const [loaded, packages] = [new Set<string>(), new Set<string>()];
    const load = (file: string): void => {
      if (loaded.has(file)) return;
      loaded.add(file);
      for (const [, from = ''] of text(file).matchAll(/^import\s+(?!type\s)[^;]*?from\s+'([^']+)'/gms)) {
        if (from.startsWith('.')) load(relative(root, resolve(root, dirname(file), from)));
        else if (!from.startsWith('node:')) packages.add(from);
      }
    };
    load('cli/main.ts');
    expect([...packages].sort()).toEqual(['commander', 'leven']);
    expect(loaded.size).toBeLessThan(15);
  });

  test('no circular imports', () => {
    const edges = new Map<string, string[]>();
    for (const { from, to, typeOnly } of imports)
      if (!typeOnly) edges.set(from, [...(edges.get(from) ?? []), to]);
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' → '));
      if (path.includes(file) || done.has(file)) return;
      for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
    expect(circles).toEqual([]);
  });

  test.each(files.filter((file) => file.startsWith('core/')))('%s is pure and synchronous', (file) => {
    const code = text(file).replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    expect(code).not.toMatch(/\bawait\b|Date\.now|Math\.random|setTimeout|\bprocess\b|['"]node:/);
  });
});
