import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { never } from '../src/base/cancellation.ts';
import { systemClock } from '../src/base/clock.ts';
import { groupId, ms, trialId } from '../src/base/units.ts';
import { BuiltinBenchmark } from '../src/benchmarks/builtin/builtin.ts';
import { builtinConfig } from '../src/benchmarks/builtin/config.ts';
import { emulatorCommand } from '../src/emulator/command.ts';
import type { RequestTrace } from '../src/emulator/server.ts';

/**
 * How truly the load generator measures: its means against the emulator's own monotonic stamps of the arrival and of
 * every write.
 */

export interface LoadgenError {
  readonly case: string;
  readonly emulators: number;
  readonly streams: number;
  readonly tok_s: number;
  readonly ttft_ms: number;
  readonly ttft_error_ms: number;
  readonly ttft_error: number;
  readonly tpot_ms: number;
  readonly tpot_error: number;
  readonly late_p99_ms: number;
}

interface Emulator extends AsyncDisposable {
  readonly baseUrl: string;
  traces(): Promise<RequestTrace[]>;
}

async function startEmulator(preset: string): Promise<Emulator> {
  const [command, script] = emulatorCommand();
  const child: ChildProcess = spawn(command, [script, '--preset', preset, '--port', '0', '--trace'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  const baseUrl = await new Promise<string>((resolve, reject) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      const url = /Started server on (http:\S+)/.exec(said)?.[1];
      if (url !== undefined) resolve(url);
    });
    child.on('exit', () => reject(new Error(`the emulator ended:\n${said}`)));
  });
  return {
    baseUrl,
    traces: async () => (await (await fetch(`${baseUrl}/emulator/trace`)).json()) as RequestTrace[],
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await once(child, 'exit');
    },
  };
}

/** As the load generator's default. */
const warmups = 8;

const mean = (values: readonly number[]): number => values.reduce((sum, one) => sum + one, 0) / values.length;

interface Load {
  readonly name: string;
  readonly preset: string;
  readonly emulators: number;
  readonly streams: number;
  readonly prompts: number;
}

async function measure({ name, preset, emulators: count, streams, prompts }: Load): Promise<LoadgenError> {
  await using stack = new AsyncStack();
  const emulators: Emulator[] = [];
  for (let i = 0; i < count; i++) emulators.push(stack.use(await startEmulator(preset)));
  const table = { num_prompts: prompts, num_warmups: warmups, max_concurrency: streams, threads: 1 };
  const config = builtinConfig.parse({ ...table, input_len: 192, output_len: 128, timeout: 120 });
  const results = await Promise.all(
    emulators.map(async ({ baseUrl }, index) => {
      const benchmark = stack.use(new BuiltinBenchmark());
      return benchmark.run(
        config,
        { baseUrl, model: undefined },
        {},
        {
          signal: never,
          clock: systemClock,
          events: { emit: () => undefined },
          trialId: trialId(index),
          groupId: groupId(index),
          attempt: 0,
          runId: 'bench',
          seed: 1,
          timeout: ms(120_000),
          sampleSize: undefined,
          toolHost: async () => Promise.reject(new Error('it needs none')),
          progress: () => undefined,
          keep: async () => Promise.resolve(),
        },
      );
    }),
  );
  const traces = (
    await Promise.all(emulators.map(async (emulator) => (await emulator.traces()).slice(warmups)))
  ).flat();
  const ttft = mean(traces.map(({ acceptedMs, writesMs }) => (writesMs[0] ?? 0) - acceptedMs));
  const tpot = mean(
    traces.map(({ writesMs }) => ((writesMs.at(-1) ?? 0) - (writesMs[0] ?? 0)) / (writesMs.length - 1)),
  );
  const said = (of: 'time_to_first_token' | 'time_per_output_token'): number =>
    1000 * mean(results.map(({ performance }) => performance[of] ?? NaN));
  const late = results.map(
    ({ raw }) =>
      (JSON.parse(raw[0]!.content) as { generator: { event_loop_delay_p99_ms: number } }).generator
        .event_loop_delay_p99_ms,
  );
  const ttftError = said('time_to_first_token') - ttft;
  return {
    case: name,
    emulators: count,
    streams: streams * count,
    tok_s: results.reduce((sum, { performance }) => sum + (performance.generate_speed ?? 0), 0),
    ttft_ms: ttft,
    ttft_error_ms: ttftError,
    ttft_error: ttftError / ttft,
    tpot_ms: tpot,
    tpot_error: (said('time_per_output_token') - tpot) / tpot,
    late_p99_ms: Math.max(...late),
  };
}

/** Node 20 has no AsyncDisposableStack; delete when engines.node >= 24. */
class AsyncStack implements AsyncDisposable {
  readonly #held: AsyncDisposable[] = [];

  use<T extends AsyncDisposable>(one: T): T {
    this.#held.push(one);
    return one;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.#held.reverse()) await one[Symbol.asyncDispose]();
  }
}

export async function loadgen(short: boolean): Promise<LoadgenError[]> {
  const rounds = short ? 1 : 3;
  const loads: Load[] = [
    { name: '64 streams', preset: 'demo', emulators: 1, streams: 64, prompts: 192 },
    { name: '256 streams', preset: 'small-8', emulators: 1, streams: 256, prompts: 768 },
    { name: '4 × 18 streams', preset: 'small-8', emulators: 4, streams: 18, prompts: 216 },
    { name: '4 × 32 streams', preset: 'small-8', emulators: 4, streams: 32, prompts: 384 },
  ];
  // The first takes a minute, and says no more than the second where errors are looked for.
  if (short) loads.shift();
  const results: LoadgenError[] = [];
  for (let round = 0; round < rounds; round++) for (const load of loads) results.push(await measure(load));
  return results;
}
