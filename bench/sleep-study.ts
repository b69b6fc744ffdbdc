import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { never } from '../src/base/cancellation.ts';
import { EventBus } from '../src/base/events.ts';
import { createRng } from '../src/base/rng.ts';
import { fromSeconds } from '../src/base/units.ts';
import { registry, runStudy } from '../src/compose.ts';
import { resolveSettings, type SettingsInput } from '../src/config/settings.ts';
import { normal } from '../src/core/pso/draws.ts';
import type { Benchmark } from '../src/parallel/ports.ts';
import { listSchedule } from './list-schedule.ts';

/**
 * A study whose durations are known: services are `sh` that sleeps before it is up, benchmarks sleep on the controller.
 * What it takes longer than greedy list scheduling of exactly these sleeps is the tool's own.
 */

/** How hosts are reached; what both kinds of cluster know. */
export interface Hosts {
  readonly addresses: readonly string[];
  readonly port: number;
  readonly identity: string;
  readonly knownHosts: string;
}

export function hostsOf({
  hosts,
  ...access
}: Omit<Hosts, 'addresses'> & { readonly hosts: readonly { readonly address: string }[] }): Hosts {
  const { port, identity, knownHosts } = access;
  return { addresses: hosts.map(({ address }) => address), port, identity, knownHosts };
}

export interface SleepStudy {
  readonly hosts: Hosts;
  readonly groups: number;
  readonly evaluations: number;
  readonly startSeconds: number;
  readonly benchmarkSeconds: number;
  /** Of lognormal benchmarks; undefined: all the same. */
  readonly seed: number | undefined;
  /** The start script leaves the service to itself, as many do. */
  readonly returnsAtOnce?: boolean;
  /** Called with the file that the service made when it was up. */
  readonly onBenchmark?: (ready: string) => void;
  /** Called with the journal of the run. */
  readonly onJournal?: (text: string) => void;
}

export interface SleepResult {
  readonly groups: number;
  readonly evaluations: number;
  readonly makespan_s: number;
  readonly ideal_s: number;
  readonly ratio: number;
  readonly overhead_ms: number;
  readonly connect_s: number;
  readonly utilization: number | null;
  /** Of the controller alone, from the first trial to the last. */
  readonly cpu_cores: number;
  readonly rss_mb: number;
  readonly loop_p99_ms: number;
  readonly fds: number;
}

/** Up after so long, which it says through a file. */
export const serviceScript = (startSeconds: number, returnsAtOnce = false): string => {
  const service = `${startSeconds > 0 ? `sleep ${startSeconds}; ` : ''}: >"$READY/ready-$OPTIMIZER_TRIAL_ID"; exec sleep 1000`;
  return `#!/bin/sh\n${returnsAtOnce ? `( ${service} ) >/dev/null 2>&1 </dev/null &` : service}\n`;
};

export function durations({
  evaluations,
  benchmarkSeconds,
  seed,
}: Pick<SleepStudy, 'evaluations' | 'benchmarkSeconds' | 'seed'>): number[] {
  if (seed === undefined) return new Array<number>(evaluations).fill(benchmarkSeconds);
  const rng = createRng(seed).fork('durations');
  const sigma = 0.5;
  return Array.from(
    { length: evaluations },
    () => benchmarkSeconds * Math.exp(sigma * normal(rng) - sigma ** 2 / 2),
  );
}

function inputOf(directory: string, { hosts, groups, evaluations }: SleepStudy): SettingsInput {
  const particles = Math.min(evaluations, Math.max(10, 2 * groups));
  const each = Math.floor(hosts.addresses.length / groups);
  const values = {
    engine: 'script',
    n_particles: particles,
    iters: Math.ceil(evaluations / particles),
    max_evaluations: evaluations,
    // The proposals are not what is measured here.
    surrogate: false,
    confirm_runs: 0,
    output: join(directory, 'result'),
    parallel: {
      enabled: true,
      // They are alike, and comparing them is not what is measured here.
      groups: 'trust',
      defaults: {
        start_script: join(directory, 'start.sh'),
        health_check_url: 'http://{host}:1/health',
        known_hosts_file: hosts.knownHosts,
        identity_file: hosts.identity,
        ssh_port: hosts.port,
        env: { READY: directory },
      },
      service_groups: Array.from({ length: groups }, (_, group_id) => ({
        group_id,
        // As on machines of their own.
        nodes: hosts.addresses
          .slice(each * group_id, each * group_id + each)
          .map((host) => ({ host, work_dir: join(directory, host) })),
      })),
    },
    script: {
      target_field: [{ name: 'X', config_position: 'env', min: 0, max: 1, dtype: 'float', value: 0.5 }],
    },
  };
  return { document: { values, origin: {}, files: [] }, flags: {} };
}

/** Measured from the inside: the controller is this process. */
class Cost {
  readonly #loop = monitorEventLoopDelay({ resolution: 5 });
  readonly #sampler: NodeJS.Timeout;
  #cpu = process.cpuUsage();
  #began = performance.now();
  #ended = performance.now();
  #rss = 0;
  #fds = 0;

  constructor() {
    this.#sampler = setInterval(() => {
      this.#rss = Math.max(this.#rss, process.memoryUsage.rss());
      this.#fds = Math.max(this.#fds, readdirSync('/proc/self/fd').length);
    }, 500);
  }

  begin(): void {
    this.#cpu = process.cpuUsage();
    this.#began = performance.now();
    this.#loop.enable();
  }

  end(): void {
    this.#loop.disable();
    this.#cpu = process.cpuUsage(this.#cpu);
    this.#ended = performance.now();
    clearInterval(this.#sampler);
  }

  get result(): Pick<SleepResult, 'cpu_cores' | 'rss_mb' | 'loop_p99_ms' | 'fds'> {
    const { user, system } = this.#cpu;
    return {
      cpu_cores: (user + system) / 1000 / (this.#ended - this.#began),
      rss_mb: this.#rss / 2 ** 20,
      loop_p99_ms: this.#loop.percentile(99) / 1e6,
      fds: this.#fds,
    };
  }
}

export async function sleepStudy(study: SleepStudy): Promise<SleepResult> {
  const { groups, startSeconds, evaluations } = study;
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-sleeps-'));
  writeFileSync(join(directory, 'start.sh'), serviceScript(startSeconds, study.returnsAtOnce), {
    mode: 0o755,
  });
  const input = inputOf(directory, study);
  const settings = resolveSettings(input, registry);
  const sleeps = durations(study);
  const events = new EventBus();
  let [first, last, connected, told] = [Infinity, 0, 0, 0];
  const cost = new Cost();
  const trialOn = new Map<string, number>();
  const masters = settings.parallel.service_groups.map(({ nodes }) => nodes[0]?.host ?? '');
  const began = performance.now();
  events.subscribe((event) => {
    const now = performance.now();
    if (event.type === 'run.started') connected = now - began;
    if (event.type === 'trial.started') {
      if (first === Infinity) cost.begin();
      first = Math.min(first, now);
      trialOn.set(masters[event.groupId] ?? '', event.trialId);
    }
    if (event.type === 'trial.finished') {
      last = now;
      if (++told === evaluations) cost.end();
    }
  });
  const createBenchmark = async (): Promise<Benchmark> =>
    Promise.resolve({
      name: 'sleep',
      async run(_config, _target, _params, context) {
        study.onBenchmark?.(join(directory, `ready-${context.trialId}`));
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
      const trial = trialOn.get(new URL(url).hostname);
      return Promise.resolve(existsSync(join(directory, `ready-${trial ?? ''}`)) ? 200 : undefined);
    },
    text: async () => Promise.resolve(undefined),
    listens: async () => Promise.resolve(false),
  };
  const { summary, paths, error } = await runStudy(
    { settings, input, events, world: { http, createBenchmark } },
    never,
  );
  study.onJournal?.(readFileSync(paths.journal, 'utf8'));
  rmSync(directory, { recursive: true, force: true });
  if (error !== undefined) throw error as Error;
  const jobs = sleeps.map((sleep) => sleep + startSeconds);
  const { makespan: ideal, idleTail } = listSchedule(jobs, groups);
  const makespan = (last - first) / 1000;
  const busy = jobs.reduce((sum, job) => sum + job, 0);
  return {
    groups,
    evaluations,
    makespan_s: makespan,
    ideal_s: ideal,
    ratio: makespan / ideal,
    overhead_ms: ((makespan * groups - busy - idleTail) / jobs.length) * 1000,
    connect_s: connected / 1000,
    utilization: summary.utilization,
    ...cost.result,
  };
}
