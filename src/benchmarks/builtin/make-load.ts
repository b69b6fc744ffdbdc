import { availableParallelism } from 'node:os';
import { askCanary } from './canary.ts';
import type { Seen } from './ledger.ts';
import type { LoadJob, LoadResult } from './load.ts';
import { metricsBetween, readMetrics, resetCaches, type ServerMetrics } from './server-metrics.ts';
import type { LoadThreads } from './threads.ts';

/** All that a machine has to know to make the load of one measurement: plain data, so that it can be any machine. */
export interface LoadRequest {
  readonly job: LoadJob;
  readonly resetCache: boolean;
  /** 0: as many as the concurrency needs and the machine has. */
  readonly threads: number;
  /** Ask for greedy answers as well. */
  readonly canary: boolean;
}

export interface MadeLoad {
  /** One a thread. */
  readonly results: readonly LoadResult[];
  readonly server: ServerMetrics;
  /** Absent where it was not asked for, or an answer did not come. */
  readonly canary?: readonly string[] | undefined;
}

/** What all threads have seen so far, this long after they began. */
export type OnSeen<T = void> = (seen: readonly Seen[], elapsedS: number) => T;

/** Streams that one thread follows without being late itself. */
const streamsPerThread = 64;

function threadCount({ maxConcurrency, prompts }: LoadJob, threads: number): number {
  const wanted = threads === 0 ? Math.ceil(maxConcurrency / streamsPerThread) : threads;
  const limit = threads === 0 ? Math.max(1, availableParallelism() - 1) : threads;
  return Math.max(1, Math.min(wanted, limit, maxConcurrency, prompts.length));
}

/** Every n-th request for every thread, and its share of the concurrency. */
function jobsOf(whole: LoadJob, threads: number): LoadJob[] {
  return Array.from({ length: threads }, (_, thread) => {
    const mine = <T>(all: readonly T[]): T[] => all.filter((_one, index) => index % threads === thread);
    const share = Math.floor(whole.maxConcurrency / threads);
    return {
      ...whole,
      warmups: mine(whole.warmups),
      prompts: mine(whole.prompts),
      due: mine(whole.due),
      maxConcurrency: share + (thread < whole.maxConcurrency % threads ? 1 : 0),
    };
  });
}

/**
 * On the machine that this runs on.
 * @throws UnusableTarget, Error where a thread failed, the signal's reason
 */
export async function makeLoad(
  threads: LoadThreads,
  { job, resetCache, threads: wanted, canary: wantsCanary }: LoadRequest,
  onSeen: OnSeen,
  signal: AbortSignal,
): Promise<MadeLoad> {
  const { baseUrl } = job;
  const canary = wantsCanary ? await askCanary(job, job.endpoint === 'chat', signal) : undefined;
  let before: Awaited<ReturnType<typeof readMetrics>>;
  let began = 0;
  const beforeStart = async (): Promise<void> => {
    if (resetCache) await resetCaches(baseUrl, signal);
    before = await readMetrics(baseUrl, signal);
    began = performance.now();
  };
  const onProgress = (seen: readonly Seen[]): void => onSeen(seen, (performance.now() - began) / 1000);
  const jobs = jobsOf(job, threadCount(job, wanted));
  const results = await threads.run(jobs, { beforeStart, onProgress }, signal);
  const server = metricsBetween(before, before && (await readMetrics(baseUrl, signal)));
  return { results, server, canary };
}
