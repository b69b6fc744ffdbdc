import { hostsOf, sleepStudy, type SleepResult } from './sleep-study.ts';
import { realSshd } from '../test/support/sshd.ts';

/**
 * How near the schedule comes to greedy list scheduling of exactly the same sleeps: 50 configurations over real sshd,
 * start 0.5 s, benchmark 2.5 s (fixed, or lognormal with sigma 0.5).
 */

type Makespan = Pick<
  SleepResult,
  'groups' | 'makespan_s' | 'ideal_s' | 'ratio' | 'overhead_ms' | 'connect_s' | 'utilization'
> & { readonly case: string };

export async function makespan(short: boolean): Promise<Makespan[]> {
  await using cluster = await realSshd.start(8);
  const all = hostsOf(cluster);
  const measure = async (groups: number, seed: number | undefined): Promise<Makespan> => {
    const { makespan_s, ideal_s, ratio, overhead_ms, connect_s, utilization } = await sleepStudy({
      hosts: { ...all, addresses: all.addresses.slice(0, 2 * groups) },
      ...{ groups, seed, evaluations: 50, startSeconds: 0.5, benchmarkSeconds: 2.5 },
    });
    const name = seed === undefined ? 'fixed' : `lognormal seed ${seed}`;
    return { case: name, groups, makespan_s, ideal_s, ratio, overhead_ms, connect_s, utilization };
  };
  const seeds = short ? [undefined] : [undefined, 1, 2, 3, 4, 5];
  const results: Makespan[] = [];
  for (const seed of seeds) results.push(await measure(4, seed));
  // Fewer groups take longer: the fixed case alone.
  if (!short) for (const groups of [1, 2]) results.push(await measure(groups, undefined));
  return results;
}
