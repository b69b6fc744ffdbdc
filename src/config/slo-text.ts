import { ConfigurationError } from '../base/errors.ts';
import type { SloName, SloStatistic, StatedSlo } from '../core/fitness/slo.ts';

const names: Readonly<Record<string, SloName>> = {
  ttft: 'time_to_first_token',
  tpot: 'time_per_output_token',
  itl: 'inter_token_latency',
  e2el: 'end_to_end_latency',
  success: 'success_rate',
};
const factors: Readonly<Record<string, number>> = { s: 1, ms: 1e-3, us: 1e-6, '%': 1e-2 };

const form =
  /^(?<metric>\w+)(?::(?<statistic>[\w.]+))?\s*(?<sign><=|>=)\s*(?<value>\d*\.?\d+)\s*(?<unit>[a-z%]*)(?<rest>.*)$/i;
const extras = /^(?:\s+(?<kind>soft|hard))?(?:\s+slack\s+(?<slack>\d*\.?\d+)\s*%)?\s*$/i;

export const sloExamples =
  '"ttft:p99<=500ms", "tpot:mean<=50ms", "success>=0.99", "e2el:p95<=10s soft", "itl<=40ms slack 5%"';

function refuse(text: string, what: string): never {
  throw new ConfigurationError(`The SLO '${text}' ${what}`, {}, { remedy: `Write it like ${sloExamples}.` });
}

function statisticOf(word: string | undefined, name: SloName, text: string): SloStatistic | undefined {
  if (word === undefined) return undefined;
  const said = word.toLowerCase();
  const percent = /^p(\d{1,2}(?:\.\d+)?)$/.exec(said)?.[1];
  if (name !== 'success_rate') {
    if (said === 'mean' || said === 'median') return said;
    if (Number(percent) === 50) return 'median';
    if (Number(percent) > 0) return `p${Number(percent)}`;
  }
  return refuse(text, `has no ${word}; latencies have mean, median and percentiles such as p95 or p99.9`);
}

function limitOf(value: string, unit: string, isShare: boolean, text: string): number {
  const fits = isShare ? ['', '%'].includes(unit) : ['s', 'ms', 'us'].includes(unit);
  if (!fits) return refuse(text, isShare ? 'needs a share or %' : 'needs a unit: us, ms or s');
  const limit = Number(value) * (factors[unit] ?? 1);
  return limit > 0 && !(isShare && limit > 1) ? limit : refuse(text, 'has a limit that nothing can have');
}

/** "METRIC[:STATISTIC]<=VALUE UNIT [soft] [slack P %]". @throws ConfigurationError that says what is wrong */
export function parseSlo(text: string): StatedSlo {
  const parts = form.exec(text.trim())?.groups;
  if (parts === undefined) return refuse(text, 'is not understood');
  const { metric = '', statistic, sign, value = '', unit = '', rest = '' } = parts;
  const name = names[metric.toLowerCase()];
  if (name === undefined)
    return refuse(text, `is about ${metric}; known are ${Object.keys(names).join(', ')}`);
  const isShare = name === 'success_rate';
  const expected = isShare ? '>=' : '<=';
  if (sign !== expected) return refuse(text, `must say ${expected} for ${metric}`);
  const extra = extras.exec(rest)?.groups;
  if (extra === undefined) return refuse(text, `ends with '${rest.trim()}', which is not understood`);
  return {
    name,
    statistic: statisticOf(statistic, name, text),
    limit: limitOf(value, unit.toLowerCase(), isShare, text),
    soft: extra['kind']?.toLowerCase() === 'soft',
    slack: Number(extra['slack'] ?? 0) / 100,
  };
}
