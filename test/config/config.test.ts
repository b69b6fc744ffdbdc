import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { registry } from '../../src/compose.ts';
import type { InvalidConfiguration } from '../../src/config/problems.ts';
import { ownFields } from '../../src/refine.ts';
import { resolveSettings, type Flags } from '../../src/config/settings.ts';
import { knownKeys } from '../../src/config/validate.ts';
import { readConfig } from '../../src/config/sources.ts';
import { parseToml } from '../../src/config/toml.ts';
import { normalizeArgv } from '../../src/cli/argv.ts';

const example = new URL('../../config.example.toml', import.meta.url).pathname;

function surroundings(env: Record<string, string> = {}) {
  const home = mkdtempSync(join(tmpdir(), 'optimizer-home-'));
  const cwd = mkdtempSync(join(tmpdir(), 'optimizer-cwd-'));
  return { home, cwd, env };
}
const minimal =
  '[[script.target_field]]\nname = "A"\nconfig_position = "env"\nmin = 1\nmax = 9\ndtype = "int"\nvalue = 2\n';
const resolve = (text: string, flags: Flags = {}) =>
  resolveSettings(
    { document: { values: parseToml('config.toml', text), origin: {}, files: [] }, flags },
    registry,
  );

describe('configuration', () => {
  test('the example loads without a complaint', () => {
    const document = readConfig(example, knownKeys(registry), surroundings());
    const settings = resolveSettings({ document, flags: {} }, registry);
    expect(settings.engine).toBe('script');
    expect(settings.notes).toEqual([]);
    // The load is searched on every running service.
    expect(settings.space.dimensions).toBe(2);
    expect(settings.nestedLoad).toMatchObject({ probes: 5 });
  });

  test('files in their order, by whole top-level keys; the environment wins, tables merged deeply', () => {
    const where = surroundings({
      MODEL_EVAL_STATE_N_PARTICLES: '44',
      model_eval_state_pso_options: '{"w": 0.9}',
    });
    writeFileSync(
      join(where.home, 'config.toml'),
      'iters = 7\nn_particles = 3\npso_options = { c1 = 1.0 }\n',
    );
    writeFileSync(join(where.cwd, 'config.toml'), `iters = 8\n${minimal}`);
    const document = readConfig(undefined, knownKeys(registry), where);
    expect(document.values).toMatchObject({ iters: 8, n_particles: '44', pso_options: { c1: 1, w: 0.9 } });
    const { search } = resolveSettings({ document, flags: {} }, registry);
    expect(search).toMatchObject({ particles: 44, maxEvaluations: 352, coefficients: { c1: 1, w: 0.9 } });
  });

  test('all problems at once, each with file, key path, value and expectation', () => {
    const text = `n_particels = 3\niters = "many"\n[parallel.defaults]\nhealth_check_timeout = 0\n${minimal.replace('"int"', '"integer"')}`;
    const problems = (() => {
      try {
        resolve(text);
        return [];
      } catch (error) {
        return (error as InvalidConfiguration).problems;
      }
    })();
    expect(problems.map(({ at }) => at).sort()).toEqual([
      'iters',
      'n_particels',
      'parallel.defaults.health_check_timeout',
      'script.target_field[0].dtype',
    ]);
    expect(problems.find(({ at }) => at === 'n_particels')?.expected).toMatch(/did you mean 'n_particles'/);
  });

  test('a syntax error keeps line and column', () => {
    expect(() => parseToml('x.toml', 'a = 1\nb = = 2')).toThrow(/x\.toml: line 2, column 5/);
  });

  test('`enabled = true` alone is enough; flags override; without hosts it is this machine', () => {
    const groups =
      '[parallel]\nenabled = true\n[[parallel.service_groups]]\ngroup_id = 3\nnodes = [{ host = "a" }, { host = "b", ssh_port = 2222 }]\n';
    const settings = resolve(`${groups}${minimal}`, { user: 'me', seed: 9 });
    expect(settings.local).toBe(false);
    expect(settings.seed).toBe(9);
    expect(
      settings.parallel.service_groups[0]?.nodes.map((node) => [node.host, node.ssh_port, node.username]),
    ).toEqual([
      ['a', undefined, 'me'],
      ['b', 2222, 'me'],
    ]);
    expect(resolve(minimal).local).toBe(true);
    expect(() => resolve(minimal, { parallel: true })).toThrow(/service_groups cannot be empty/);
  });

  test('the spellings of the original', () => {
    expect(normalizeArgv(['-lb', '--load_breakpoint', '--node_string=a_b', 'x_y', '--', '--a_b'])).toEqual([
      '--load-breakpoint',
      '--load-breakpoint',
      '--node-string=a_b',
      'x_y',
      '--',
      '--a_b',
    ]);
  });

  test('log lines that the user knows come before ours, with the blame of their table', () => {
    const { patterns } = resolve(`${minimal}
[health_check]
log_snippet_length = 200
[health_check.service_errors.fatal_patterns]
out_of_memory = ["No room"]
device_error = ["fell off"]
[health_check.service_errors.retryable_patterns]
network_error = ["rendezvous"]
[health_check.benchmark_errors.retryable_patterns]
io_error = ["reset by peer"]
`);
    expect(patterns.service.map(({ text, blame, fatal }) => [text, blame, fatal])).toEqual([
      ['No room', 'params', true],
      ['fell off', 'node', true],
      ['rendezvous', 'node', true],
    ]);
    expect(patterns.benchmark.map(({ blame }) => blame)).toEqual(['benchmark']);
  });

  test('how long a benchmark and a start may take, by all of their names', () => {
    const limits = (text: string): [number, number] => {
      const { parallel } = resolve(text + minimal);
      return [parallel.evaluation_timeout, parallel.service_groups[0]!.health_check_timeout];
    };
    expect(limits('')).toEqual([600, 1800]);
    expect(limits('particles_time_out = 900\nwait_start_time = 60\n')).toEqual([900, 60]);
    const both = '[parallel]\nevaluation_timeout = 5\n[parallel.defaults]\nhealth_check_timeout = 6\n';
    expect(limits(`particles_time_out = 900\nwait_start_time = 60\n${both}`)).toEqual([5, 6]);
  });

  test('a constraint that names nothing, or that the present configuration breaks, is refused', () => {
    expect(() => resolve(`${minimal}[[constraint]]\nexpr = "a + b > 1"\n`)).toThrow(
      /b is no field here; known: .*nodes, npus/,
    );
    expect(() => resolve(`${minimal}[[constraint]]\nexpr = "a >"\n`)).toThrow(/expr/);
    expect(() => resolve(`${minimal}[[constraint]]\nexpr = "a > 2"\nreason = "too small"\n`)).toThrow(
      /too small/,
    );
    expect(resolve(`${minimal}[[constraint]]\nexpr = "A * npus > 2"\n`).space.broken({ A: 0.1 })).toBe(
      'A * npus > 2',
    );
  });

  test('the configuration that the original ships loads without a complaint, for each of its engines', () => {
    const vectors = readFileSync(join(import.meta.dirname, '../fixtures/parity/settings.json'), 'utf8');
    const [{ result }] = (JSON.parse(vectors) as { cases: [{ result: Record<string, unknown> }] }).cases;
    const own = ['ftol', 'simulator_output', 'communication', 'latency_model'];
    const values = Object.fromEntries(Object.entries(result).filter(([key]) => !own.includes(key)));
    for (const engine of [undefined, 'vllm', 'mindie'] as const) {
      for (const benchmarkPolicy of [undefined, 'ais_bench', 'vllm_benchmark'] as const) {
        const document = { values, origin: {}, files: [] };
        const settings = resolveSettings({ document, flags: { engine, benchmarkPolicy } }, registry);
        expect(settings.engine).toBe(engine ?? 'mindie');
        expect(ownFields(settings).length).toBeGreaterThan(3);
        expect(settings.space.dimensions).toBeGreaterThan(1);
        const complaints = settings.notes.filter((note) => !note.startsWith('several engine tables'));
        expect(complaints.every((note) => note.includes('accepted'))).toBe(true);
      }
    }
  });
});
