import type { SloStatistic } from './slo.ts';

const quantiles: Readonly<Record<Exclude<SloStatistic, 'mean'>, number>> = {
  ...{ median: 0.5, p90: 0.9, p95: 0.95, p99: 0.99 },
};

/** Requests without which a percentile is made of a handful of them: 10 / (1 − q). */
export const requestsNeeded = (statistic: SloStatistic): number =>
  statistic === 'mean' ? 0 : Math.round(10 / (1 - quantiles[statistic]));

/** What is wrong with judging these statistics by so many requests, a sentence each. */
export function tooFew(
  judged: readonly { readonly of: string; readonly statistic: SloStatistic }[],
  requests: number,
): string[] {
  return judged
    .filter(({ statistic }) => requests < requestsNeeded(statistic))
    .map(
      ({ of, statistic }) =>
        `${statistic} of ${of} from ${requests} requests: fewer than ${requestsNeeded(statistic)} make it a matter of luck`,
    );
}
