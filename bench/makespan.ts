import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { registry, runStudy } from '../src/compose.ts';
import { never } from '../src/base/cancellation.ts';
import { EventBus } from '../src/base/events.ts';
import { createRng } from '../src/base/rng.ts';
import { fromSeconds } from '../src/base/units.ts';
import { resolveSettings, type SettingsInput } from '../src/config/settings.ts';
import { normal } from '../src/core/pso/draws.ts';
import type { Benchmark } from '../src/parallel/ports.ts';
import { listSchedule } from './list-schedule.ts';
import { realSshd, type SshdCluster } from '../test/support/sshd.ts';

/**
 * How near the schedule comes to greedy list scheduling of exactly the same sleeps: 10 particles × 5 iterations over
 * real sshd, services being `sh`, start 0.5 s, benchmark 2.5 s (fixed, or lognormal with sigma 0.5).
 */

const startSeconds = 0.5;
const benchmarkSeconds = 2.5;

export interface Makespan {
  readonly case: string;
  readonly groups: number;
  readonly makespan_s: number;
  readonly ideal_s: number;
  readonly ratio: number;
  readonly overhead_ms: number;
  readonly connect_s: number;
  readonly utilization: number | null;
}

function durations(count: number, seed: number | undefined): number[] {
  if (seed === undefined) return new Array<number>(count).fill(benchmarkSeconds);
  const rng = createRng(seed).fork('durations');
  const sigma = 0.5;
  return Array.from(
    { length: count },
    () => benchmarkSeconds * Math.exp(sigma * normal(rng) - sigma ** 2 / 2),
  );
}

function settingsOf(directory: string, cluster: SshdCluster, groups: number): SettingsInput {
  const values = {
    engine: 'script',
    n_particles: 10,
    iters: 5,
    output: join(directory, 'result'),
    parallel: {
      defaults: {
        start_script: join(directory, 'start.sh'),
        health_check_url: 'http://{host}:1/health',
        work_dir: join(directory, 'work'),
        config_path: join(directory, 'work/config.json'),
        known_hosts_file: cluster.knownHosts,
        env: { READY: directory },
      },
    },
    script: {
      target_field: [{ name: 'X', config_position: 'env', min: 0, max: 1, dtype: 'float', value: 0.5 }],
    },
  };
  const hosts = Array.from({ length: groups }, (_, groupId) => ({
    groupId,
    hosts: cluster.hosts.slice(2 * groupId, 2 * groupId + 2).map(({ address }) => address),
  }));
  return {
    document: { values, origin: {}, files: [] },
    flags: { identity: cluster.identity, sshPort: cluster.port },
    hosts: { groups: hosts, warnings: [] },
  };
}

async function measure(cluster: SshdCluster, groups: number, seed: number | undefined): Promise<Makespan> {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-makespan-'));
  const script = `#!/bin/sh\nsleep ${startSeconds}\n: >"$READY/ready-$OPTIMIZER_TRIAL_ID"\nexec sleep 1000\n`;
  writeFileSync(join(directory, 'start.sh'), script, { mode: 0o755 });
  const input = settingsOf(directory, cluster, groups);
  const settings = resolveSettings(input, registry);
  const sleeps = durations(settings.search.maxEvaluations, seed);
  const events = new EventBus();
  let [first, last, connected] = [Infinity, 0, 0];
  const groupOf = new Map<string, number>();
  const began = performance.now();
  events.subscribe((event) => {
    const now = performance.now();
    if (event.type === 'run.started') connected = now - began;
    if (event.type === 'trial.started') {
      first = Math.min(first, now);
      groupOf.set(cluster.hosts[2 * event.groupId]?.address ?? '', event.trialId);
    }
    if (event.type === 'trial.finished') last = now;
  });
  const createBenchmark = async (): Promise<Benchmark> =>
    Promise.resolve({
      name: 'sleep',
      async run(_config, _target, _params, context) {
        await context.clock.sleep(fromSeconds(sleeps[context.trialId] ?? 0), context.signal);
        const performance = {
          generate_speed: 1000,
          time_to_first_token: 0.1,
          time_per_output_token: 0.01,
          success_rate: 1,
          throughput: 1,
        };
        return { performance, percentiles: {}, goodput: null, numPrompts: 1, raw: [], flags: [] };
      },
      [Symbol.asyncDispose]: async () => Promise.resolve(),
    });
  // The service says through a file that it is up: what is timed is the tool, not a web server's start.
  const http = {
    status: async (url: string) => {
      const trial = groupOf.get(new URL(url).hostname);
      return Promise.resolve(existsSync(join(directory, `ready-${trial ?? ''}`)) ? 200 : undefined);
    },
    text: async () => Promise.resolve(undefined),
    listens: async () => Promise.resolve(false),
  };
  const { summary, error } = await runStudy(
    { settings, input, events, world: { http, createBenchmark } },
    never,
  );
  rmSync(directory, { recursive: true, force: true });
  if (error !== undefined) throw error as Error;
  const jobs = sleeps.map((sleep) => sleep + startSeconds);
  const { makespan: ideal, idleTail } = listSchedule(jobs, groups);
  const makespan = (last - first) / 1000;
  const busy = jobs.reduce((sum, job) => sum + job, 0);
  return {
    case: seed === undefined ? 'fixed' : `lognormal seed ${seed}`,
    groups,
    makespan_s: makespan,
    ideal_s: ideal,
    ratio: makespan / ideal,
    overhead_ms: ((makespan * groups - busy - idleTail) / jobs.length) * 1000,
    connect_s: connected / 1000,
    utilization: summary.utilization,
  };
}

export async function makespan(short: boolean): Promise<Makespan[]> {
  await using cluster = await realSshd.start(8);
  const seeds = short ? [undefined, 1] : [undefined, 1, 2, 3, 4, 5];
  const results: Makespan[] = [];
  for (const seed of seeds) results.push(await measure(cluster, 4, seed));
  // Fewer groups take longer: the fixed case alone.
  if (!short) for (const groups of [1, 2]) results.push(await measure(cluster, groups, undefined));
  return results;
}
