import { quantileOf } from './percentiles.ts';
import type { SloStatistic } from './slo.ts';

/** Requests without which a percentile is made of a handful of them: 10 / (1 − q). */
export function requestsNeeded(statistic: SloStatistic): number {
  const quantile = quantileOf(statistic);
  return quantile === undefined ? 0 : Math.round(10 / (1 - quantile));
}

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
