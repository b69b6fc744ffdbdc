import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { never } from '../../src/base/cancellation.ts';
import { ms } from '../../src/base/units.ts';
import { ToolProgress } from '../../src/benchmarks/tool-progress.ts';
import { appliedLoad } from '../../src/benchmarks/tool.ts';
import {
  maxOutputTokens as longestOfSglang,
  sglangBenchArguments,
  sglangBenchmarkConfig,
} from '../../src/benchmarks/sglang-benchmark/sglang-benchmark.ts';
import {
  maxOutputTokens,
  vllmBenchArguments,
  vllmBenchmark,
  vllmBenchmarkConfig,
} from '../../src/benchmarks/vllm-benchmark/vllm-benchmark.ts';
import type { Judged } from '../../src/core/fitness/fitness.ts';
import type { BenchmarkContext, Command, ToolHost } from '../../src/parallel/ports.ts';
import { LocalExecutor } from '../../src/remote/remote-executor.ts';

const scored = { time_to_first_token: 'mean', time_per_output_token: 'mean' } as const;
const free = appliedLoad({});
const load = { requests: 200, maxOutputTokens: 100, scored };

/** Hopeless below 1000 output tokens/s. */
function watched(more: Partial<BenchmarkContext> = {}) {
  const told: string[] = [];
  const asked: Judged[] = [];
  const context = {
    signal: never,
    timeout: ms(20_000),
    progress: (done: number, total: number) => void told.push(`${done}/${total}`),
    isHopeless: (best: Judged) => {
      asked.push(best);
      return (best.generate_speed ?? 0) < 1000;
    },
    keep: async () => Promise.resolve(),
    ...more,
  } as unknown as BenchmarkContext;
  return { context, told, asked };
}

const bar = (done: number, time: string, total = 200): string =>
  `\r ${Math.floor((100 * done) / total)}%|####    | ${done}/${total} [${time}<00:16,  7.02it/s]`;

test('what a tool comes to at best follows from its bar', () => {
  const { context, told, asked } = watched();
  const progress = new ToolProgress(load, context);
  expect(progress.read(bar(84, '00:21'), true)).toBe(false);
  // 200 requests of 100 tokens, in no less than 20 s: the tool's clock began after its bar.
  expect(asked[0]).toMatchObject({
    generate_speed: 1000,
    throughput: 10,
    time_to_first_token: 0,
    success_rate: 1,
  });
  expect(progress.read(bar(85, '00:22'), true)).toBe(true);
  expect(told).toEqual(['84/200', '85/200']);
  expect(progress.ended).toMatchObject({
    performance: { generate_speed: 20_000 / 21 },
    numPrompts: 200,
    censored: { running: { generate_speed: 8500 / 21 } },
  });
  expect(progress.ended?.flags[0]).toMatch(/ended early, after 21 s/);
});

test('a bar may come in pieces, and several at once; hours count', () => {
  const { context, told } = watched();
  const progress = new ToolProgress(load, context);
  const whole = `${bar(3, '00:02')}${bar(4, '1:00:03')}`;
  expect(Array.from(whole, (letter) => progress.read(letter, true)).filter(Boolean)).toEqual([true]);
  expect(told).toEqual(['3/200', '4/200']);
  expect(new ToolProgress(load, watched().context).read(whole, true)).toBe(true);
});

test('reads what tqdm really prints', () => {
  const { context, told } = watched();
  const progress = new ToolProgress({ ...load, requests: 40 }, context);
  const recorded = readFileSync(join(import.meta.dirname, '../fixtures/recorded/tqdm-40.txt'), 'latin1');
  for (let at = 0; at < recorded.length; at += 37) progress.read(recorded.slice(at, at + 37), true);
  // Once a second, and at its end.
  expect([told[0], told.at(-1)]).toEqual(['0/40', '40/40']);
  expect(told.length).toBeGreaterThan(3);
  expect(told.length).toBeLessThan(7);
});

test.each([
  ['a bar of something else', bar(5, '10:00', 20)],
  ['all are done: it is about to say so itself', bar(200, '10:00')],
  ['a second has hardly passed', bar(1, '00:01')],
  ['no bar', 'Starting main benchmark run... 84/200\n'],
])('%s ends nothing', (_why, text) => {
  expect(new ToolProgress(load, watched().context).read(text, true)).toBe(false);
});

test('nothing is ended where answers have no bound, where nothing is hopeless, or what cannot be ended', () => {
  const late = bar(5, '10:00');
  const { context } = watched();
  expect(new ToolProgress({ ...load, maxOutputTokens: undefined }, context).read(late, true)).toBe(false);
  expect(new ToolProgress(load, watched({ isHopeless: undefined }).context).read(late, true)).toBe(false);
  expect(new ToolProgress(load, context).read(late, false)).toBe(false);
});

/** Draws its bar as if it were slow, and would go on for a minute. */
const slowTool = `printf '%s\\n' "Starting main benchmark run..." >&2
printf '\\r 2%%|  | 4/200 [00:59<45:12, 0.07it/s]' >&2
sleep 60 & echo $! >pid; wait`;

async function run(outlives: boolean) {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-tool-'));
  await using executor = new LocalExecutor();
  const wrap = (command: Command): Command => command;
  const host: ToolHost = {
    ...{ executor, directory: join(directory, 'bench'), cwd: directory, env: {}, outlives },
    ...{ wrap, wrapOnHost: wrap },
  };
  const config = vllmBenchmarkConfig.parse({
    executable: ['sh', '-c', slowTool, 'vllm'],
    command: { num_prompts: 200 },
  });
  const { context } = watched({
    toolHost: async () => Promise.resolve(host),
    timeout: ms(outlives ? 1000 : 20_000),
  });
  const began = performance.now();
  try {
    const result = await vllmBenchmark.run(config, { baseUrl: 'http://h:1', model: 'm' }, {}, context);
    const pid = Number(readFileSync(join(directory, 'bench/pid'), 'utf8'));
    return { result, pid, seconds: (performance.now() - began) / 1000 };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('a tool that nothing can save is ended, and its result is a bound', async () => {
  const { result, pid, seconds } = await run(false);
  expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  // 200 × 128 tokens in 58 s.
  expect(result.performance.generate_speed).toBeCloseTo((200 * 128) / 58, 3);
  expect(result.censored).toBeDefined();
  expect(seconds).toBeLessThan(2.5);
});

test.each([
  ['', 128],
  ['--random-output-len 1 --random-output-len=1000', 1000],
  ['--random-output-len 1 --output-len 64', 64],
  ['--random-output-len 500 --random-range-ratio 0.9', 950],
  ['--num-warmups 20', 128],
  // A warm-up of as many requests has a bar like the measurement's.
  ['--num-warmups 200', undefined],
  ['--random-range-ratio {"output":0.1}', undefined],
  ['--seed 7 --ignore-eos --random-range-ratio 0', 128],
  // Abbreviated, with underscores, from a file, of another kind, in the request itself: known to the tool alone.
  ['--random-output 1000', undefined],
  ['--random_output_len 1000', undefined],
  ['--config bench.yaml', undefined],
  ['--dataset-name sharegpt', undefined],
  [`--extra-body '{"max_tokens":1000}'`, undefined],
  ['--num_warmups 200', undefined],
])('of vLLM with %j an answer has at most %s tokens', (others, tokens) => {
  const config = vllmBenchmarkConfig.parse({ command: { others } });
  const argv = vllmBenchArguments(config, { baseUrl: 'http://h:1', model: 'm' }, free, 200);
  expect(maxOutputTokens(config, argv, 200)).toBe(tokens);
});

test.each([
  ['', 128],
  ['--random-output-len 1000', 1000],
  ['--random-range-ratio 0.5', 128],
  ['--random-output 1000', undefined],
  ['--dataset-name=sharegpt', undefined],
  [`--extra-request-body '{"max_tokens":1000}'`, undefined],
])('of SGLang with %j an answer has at most %s tokens', (others, tokens) => {
  const config = sglangBenchmarkConfig.parse({ command: { others } });
  const argv = sglangBenchArguments(config, { baseUrl: 'http://h:1', model: 'm' }, free, 200);
  expect(longestOfSglang(config, argv)).toBe(tokens);
});

test.each([
  ['requests that say themselves how long their answers are', { dataset_name: 'sharegpt' }],
  ["a script of the user's, which may have a default of its own", { serving: 'bench.py' }],
])('of %s nothing is known', (_what, command) => {
  expect(maxOutputTokens(vllmBenchmarkConfig.parse({ command }), [], 200)).toBeUndefined();
});

test('in a container, where it might go on without its command, it runs to its end', async () => {
  await expect(run(true)).rejects.toThrow(/timed out after 1s/);
});
