import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { never } from '../src/base/cancellation.ts';
import { EventBus } from '../src/base/events.ts';
import { fromSeconds } from '../src/base/units.ts';
import { registry, runStudy } from '../src/compose.ts';
import { resolveSettings } from '../src/config/settings.ts';
import type { Benchmark } from '../src/parallel/ports.ts';
import type { JournalEntry } from '../src/parallel/records.ts';
import { localConnector } from '../src/remote/remote-executor.ts';

/**
 * What configurations cost that cannot start: their service writes the line that tells so and then hangs, as engines do
 * in their teardown. Real processes on this machine, four groups; starts of 0.5 s, benchmarks that sleep 1.5 s.
 */

const groups = 4;
const startSeconds = 0.5;
const benchmarkSeconds = 1.5;
const performance_ = {
  generate_speed: 1000,
  time_to_first_token: 0.1,
  time_per_output_token: 0.01,
  success_rate: 1,
  throughput: 1,
};

export interface FailureCost {
  readonly case: string;
  readonly evaluations: number;
  readonly infeasible: number;
  readonly makespan_s: number;
  /** From the fatal line in the log to the verdict, its end included. */
  readonly notice_ms_max: number | null;
  readonly of_good_ones: number;
}

async function measure(evaluations: number, every: number): Promise<Omit<FailureCost, 'of_good_ones'>> {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-failures-'));
  const start = join(directory, 'start.sh');
  writeFileSync(
    start,
    `#!/bin/sh
if [ $((OPTIMIZER_TRIAL_ID % ${every})) -eq $((${every} - 1)) ]; then
  sleep 0.2
  date +%s.%N >"${directory}/line-$OPTIMIZER_TRIAL_ID"
  echo 'torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB'
  exec sleep 300
fi
sleep ${startSeconds}
: >"${directory}/ready-$OPTIMIZER_TRIAL_ID"
exec sleep 300
`,
    { mode: 0o755 },
  );
  const trialOf = new Map<number, number>();
  const events = new EventBus();
  const [began, ended]: number[][] = [[], []];
  events.subscribe((event) => {
    if (event.type === 'trial.started') {
      trialOf.set(event.groupId, event.trialId);
      began!.push(performance.now());
    }
    if (event.type === 'trial.finished') ended!.push(performance.now());
  });
  const port = 21_000 + (process.pid % 1000) * 4;
  const values = {
    engine: 'script',
    algorithm: 'random',
    output: join(directory, 'result'),
    n_particles: evaluations,
    iters: 1,
    parallel: {
      enabled: true,
      groups: 'trust',
      defaults: { start_script: start, device_type: 'none', stop_grace: 2 },
      service_groups: Array.from({ length: groups }, (_, id) => ({
        group_id: id,
        nodes: [{ host: `local${id}`, work_dir: join(directory, `work${id}`) }],
        config_path: join(directory, `config${id}.json`),
        health_check_url: `http://{host}:${port + id}/health`,
      })),
    },
    script: {
      target_field: [{ name: 'N', config_position: 'env', dtype: 'float', min: 0, max: 1, value: 0.5 }],
    },
  };
  const input = { document: { values, origin: {}, files: [] }, flags: { seed: 1 } };
  const createBenchmark = async (): Promise<Benchmark> =>
    Promise.resolve({
      name: 'sleep',
      async run(_config, _target, _params, { clock, signal }) {
        await clock.sleep(fromSeconds(benchmarkSeconds), signal);
        return {
          performance: performance_,
          percentiles: {},
          goodput: null,
          numPrompts: 1,
          raw: [],
          flags: [],
        };
      },
      [Symbol.asyncDispose]: async () => Promise.resolve(),
    });
  // The service says through a file that it is up: what is timed is the tool, not a web server's start.
  const http = {
    status: async (url: string) => {
      const trial = trialOf.get(Number(new URL(url).port) - port);
      return Promise.resolve(existsSync(join(directory, `ready-${trial ?? ''}`)) ? 200 : undefined);
    },
    text: async () => Promise.resolve(undefined),
    listens: async () => Promise.resolve(false),
  };
  const { summary, paths, error } = await runStudy(
    {
      settings: resolveSettings(input, registry),
      input,
      events,
      world: { connector: localConnector, http, createBenchmark },
    },
    never,
  );
  if (error !== undefined) throw error as Error;
  const told = readFileSync(paths.journal, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as JournalEntry)
    .flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
  const notices = told.flatMap(({ trial_id: id, finished_at: at }) => {
    const file = join(directory, `line-${id}`);
    return existsSync(file) ? [Date.parse(at) - Number(readFileSync(file, 'utf8')) * 1000] : [];
  });
  rmSync(directory, { recursive: true, force: true });
  return {
    case: every > evaluations ? 'all start' : '1 in 10 cannot start',
    evaluations,
    infeasible: summary.evaluations.infeasible,
    makespan_s: (Math.max(...ended!) - Math.min(...began!)) / 1000,
    notice_ms_max: notices.length === 0 ? null : Math.max(...notices),
  };
}

/** As many good ones in both. */
export async function failures(short: boolean): Promise<FailureCost[]> {
  const good = short ? 18 : 144;
  const without = await measure(good, Number.MAX_SAFE_INTEGER);
  const withBad = await measure((good * 10) / 9, 10);
  return [without, withBad].map((one) => ({ ...one, of_good_ones: one.makespan_s / without.makespan_s }));
}
