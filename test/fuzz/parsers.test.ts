import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ModelEvalStateError } from '../../src/base/errors.ts';
import { parseAisBench } from '../../src/benchmarks/ais-bench/parse.ts';
import { parseVllmBench } from '../../src/benchmarks/vllm-benchmark/parse.ts';
import { registry } from '../../src/compose.ts';
import { parseHostfile, parseNodeString } from '../../src/config/host-lists.ts';
import { resolveSettings } from '../../src/config/settings.ts';
import { parseToml } from '../../src/config/sources.ts';
import { repaired, scanJournal } from '../../src/runs/journal.ts';
import { summarize } from '../../src/report/summary.ts';
import { parseKnownHosts } from '../../src/remote/known-hosts.ts';

/**
 * Bytes that nobody meant: an answer, or one of our own errors with a place and a remedy; never a crash, never a hang.
 * Half of them are valid files with something wrong. `OPTIMIZER_FUZZ_RUNS` says how many cases each.
 */

const numRuns = Number(process.env['OPTIMIZER_FUZZ_RUNS'] ?? 200);
const root = resolve(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** One edit: something is cut out, doubled, replaced or put in between. */
const edit = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  length: fc.nat(12),
  text: fc.oneof(
    fc.string({ unit: 'binary', maxLength: 6 }),
    fc.constantFrom(
      '\0',
      '\r\n',
      '"',
      "'",
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '#',
      '=',
      'NaN',
      '1e999',
      '-1',
      'null',
      '\u001b[2J',
      '😀',
    ),
  ),
  twice: fc.boolean(),
});
type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;

function edited(text: string, edits: readonly Edit[]): string {
  return edits.reduce((now, { at, length, text: put, twice }) => {
    const from = Math.floor(at * now.length);
    const part = now.slice(from, from + length);
    return now.slice(0, from) + (twice ? part + part : '') + put + now.slice(from + length);
  }, text);
}

const mutation = (...valid: readonly string[]): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom(...valid), fc.array(edit, { minLength: 1, maxLength: 4 }))
    .map(([text, edits]) => edited(text, edits));

/** Half of it anything, half of it almost right. */
const almost = (...valid: readonly string[]): fc.Arbitrary<string> =>
  fc.oneof(fc.string({ unit: 'binary', maxLength: 200 }), mutation(...valid));

function answersOrExplains(
  parse: (text: string) => unknown,
  inputs: fc.Arbitrary<string>,
  place?: RegExp,
): void {
  fc.assert(
    fc.property(inputs, (text) => {
      try {
        parse(text);
      } catch (error) {
        if (!(error instanceof ModelEvalStateError)) throw error;
        expect(error.blame).not.toBe('program');
        expect(error.remedy).toMatch(/\w/);
        expect(error.message.length).toBeGreaterThan(0);
        if (place !== undefined) expect(error.message).toMatch(place);
      }
    }),
    { numRuns },
  );
}

describe('fuzz', () => {
  const hosts = '# the rack\nnode0\nnode1 # new\n\n10.0.0.1\n[fe80::1]\nnode-2.example.org\n';
  test('hostfiles', () =>
    answersOrExplains(
      (text) => parseHostfile(text, 2, 'hosts.txt'),
      almost(hosts, read('hostfile.example')),
      /hosts\.txt|host/i,
    ));

  test('node strings', () =>
    answersOrExplains(parseNodeString, almost('n0,n1:n2,n3', 'a:b:c', '[fe80::1],[fe80::2]:c,d')));

  test('TOML', () => {
    const valid = [
      read('config.example.toml'),
      ...readdirSync(join(root, 'docs/engines')).flatMap((name) =>
        [...read(`docs/engines/${name}`).matchAll(/```toml\n([\s\S]*?)```/g)].map(([, text]) => text ?? ''),
      ),
    ];
    answersOrExplains((text) => parseToml('config.toml', text), almost(...valid), /config\.toml/);
  });

  test('configurations', () => {
    const valid = [read('config.example.toml')];
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
      mutation(...valid),
    );
  });

  test('journals: what is whole is kept, and everything that follows can be read', () => {
    const trial = (n: number): string =>
      `${JSON.stringify({
        type: 'told',
        at: '2000-01-01T00:00:00Z',
        record: {
          ...{
            trial_id: n,
            group_id: 0,
            params: { a: 1 },
            failed_attempts: [],
            reused_from: null,
            confirms: null,
          },
          verdict: {
            ...{ kind: 'scored', fitness: 1, terms: {}, percentiles: {}, violations: [], flags: [] },
            performance: {
              generate_speed: 1,
              time_to_first_token: 1,
              time_per_output_token: 1,
              success_rate: 1,
              throughput: 1,
            },
          },
          ...{ started_at: '2000-01-01T00:00:00Z', finished_at: '2000-01-01T00:00:00Z' },
          ...{ start_s: 1, benchmark_s: 1, duration_s: 1, num_prompts: 1 },
        },
      })}\n`;
    const whole = [0, 1, 2].map(trial).join('');
    fc.assert(
      fc.property(almost(whole), (text) => {
        const content = scanJournal(Buffer.from(text));
        const at = '2000-01-01T00:00:00Z';
        summarize(repaired(content), { status: 'interrupted', exitCode: 130, at, error: null }, {});
        const lines = Buffer.from(text).toString('utf8').split('\n').length - 1;
        expect(content.entries.length + content.later.length + content.damaged.length).toBe(lines);
      }),
      { numRuns },
    );
  });

  const recorded = 'test/fixtures/recorded';
  test('results of vllm bench serve', () => {
    const valid = JSON.stringify({
      ...{ duration: 10, completed: 10, failed: 0, request_throughput: 1, output_throughput: 100 },
      ...{ mean_ttft_ms: 10, mean_tpot_ms: 5, p99_ttft_ms: 20, p99_tpot_ms: 9, num_prompts: 10 },
    });
    answersOrExplains(
      (text) => parseVllmBench([{ path: 'result.json', text }], { ttft: 'mean', tpot: 'mean' } as never),
      almost(valid),
      /result\.json|vllm/,
    );
  });

  test('results of ais_bench', () => {
    const files = readdirSync(join(root, recorded), { recursive: true, encoding: 'utf8' });
    const csv = files.filter((name) => /ais.*\.csv$/.test(name)).map((name) => read(`${recorded}/${name}`));
    const table =
      csv[0] ??
      'Performance Parameters,Stage,Average,Min,Max,Median,P75,P90,P99,N\nE2EL,total,2 s,1 s,3 s,2 s,2 s,2 s,3 s,4\nTTFT,total,2 ms,1 ms,3 ms,2 ms,2 ms,2 ms,3 ms,4\nTPOT,total,2 ms,1 ms,3 ms,2 ms,2 ms,2 ms,3 ms,4\n';
    const common = JSON.stringify({
      'Benchmark Duration': { total: '100 ms' },
      'Total Requests': { total: 4 },
      'Success Requests': { total: 4 },
      'Failed Requests': { total: 0 },
      Concurrency: { total: 2 },
      'Max Concurrency': { total: 4 },
      'Output Token Throughput': { total: '10 token/s' },
      'Request Throughput': { total: '1 req/s' },
    });
    const choice = { algorithm: 'average' } as never;
    const rules = { ttft: choice, tpot: choice, concurrencyCoefficient: 3, concurrencyThreshold: 100 };
    const pair = fc.oneof(
      almost(table).map((text) => [text, common] as const),
      almost(common).map((text) => [table, text] as const),
    );
    answersOrExplains(
      (both) => {
        const [one, other] = JSON.parse(both) as [string, string];
        parseAisBench(
          [
            { path: 'r.csv', text: one },
            { path: 'r.json', text: other },
          ],
          rules,
        );
      },
      pair.map((both) => JSON.stringify(both)),
    );
  });

  test('known_hosts files', () => {
    const key = 'AAAAC3NzaC1lZDI1NTE5AAAAIJ6t7t0mYtYb0pFh1c2m0m1m2m3m4m5m6m7m8m9n0n1n2';
    const valid = `host,10.0.0.1 ssh-ed25519 ${key}\n|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 ${key}\n@revoked *.bad ssh-ed25519 ${key}\n[h]:2222 ssh-ed25519 ${key} comment\n`;
    answersOrExplains((text) => parseKnownHosts(text, 'known_hosts'), almost(valid));
  });
});
