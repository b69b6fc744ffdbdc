import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { activeSlos, measuredOf, sloNames, violations, type Slo, type SloName } from '../core/fitness/slo.ts';
import type { Summary, TrialSummary } from './summary.ts';

/** Baseline and answer side by side, against the SLOs. */

export interface ComparisonRow {
  readonly name: string;
  readonly baseline: string;
  readonly best: string;
  readonly slo: string;
  /** How far the best is from its SLO. */
  readonly spare: string;
}

interface Unit {
  readonly name: string;
  readonly factor: number;
  readonly digits: number;
  readonly unit: string;
}

const speeds = [
  { key: 'generate_speed', name: 'throughput', factor: 1, digits: 1, unit: 'tok/s' },
  { key: 'throughput', name: 'requests', factor: 1, digits: 2, unit: 'req/s' },
] as const;

const judged: Readonly<Record<SloName, Unit>> = {
  time_to_first_token: { name: sloNames.time_to_first_token, factor: 1000, digits: 1, unit: 'ms' },
  time_per_output_token: { name: sloNames.time_per_output_token, factor: 1000, digits: 2, unit: 'ms' },
  inter_token_latency: { name: sloNames.inter_token_latency, factor: 1000, digits: 2, unit: 'ms' },
  end_to_end_latency: { name: sloNames.end_to_end_latency, factor: 1000, digits: 0, unit: 'ms' },
  success_rate: { name: sloNames.success_rate, factor: 100, digits: 1, unit: '%' },
};
const always: readonly SloName[] = ['time_to_first_token', 'time_per_output_token', 'success_rate'];

/** Which statistic of a latency is scored, where the benchmark leaves the choice. */
export type ScoredStatistics = Readonly<Partial<Record<string, unknown>>>;

function cell(value: number | null | undefined, { factor, digits, unit }: Unit): string {
  return value === null || value === undefined ? '–' : `${(value * factor).toFixed(digits)} ${unit}`;
}

/** A value of an SLO with its unit; values are seconds, or a share. */
export const sloValue = (name: SloName, value: number | null): string => cell(value, judged[name]);

function sloCell({ name, limit, atLeast, soft, slack }: Slo): string {
  const { factor, unit } = judged[name];
  const sign = atLeast ? '≥' : '≤';
  const more = [slack > 0 ? ` ± ${Number((100 * slack).toPrecision(3))} %` : '', soft ? ' (soft)' : ''];
  return `${sign} ${Number((limit * factor).toPrecision(6))} ${unit}${more.join('')}`;
}

/** The share of an SLO that is left; with a minus where it is missed. */
function spareCell(slo: Slo, measured: number | null): string {
  if (measured === null) return '';
  const share = (slo.atLeast ? measured - slo.limit : slo.limit - measured) / slo.limit;
  return `${(100 * share).toFixed(0)} %`.replace('-0 ', '0 ');
}

/** Names of the SLOs that it misses. */
export function missedNames(trial: TrialSummary, settings: FitnessSettings): string[] {
  return [...new Set(violations(trial.performance, settings).map(({ slo }) => judged[slo].name))];
}

function sloVerdict(trial: TrialSummary | null, settings: FitnessSettings): string {
  if (trial === null) return '–';
  const missed = missedNames(trial, settings);
  return missed.length === 0 ? 'met' : `missed: ${missed.join(', ')}`;
}

/** The numbers to the right, the names to the left; columns that nobody fills are not there. */
function table(rows: readonly ComparisonRow[]): string[] {
  const width = (column: keyof ComparisonRow): number => Math.max(...rows.map((row) => row[column].length));
  const columns = (['baseline', 'best', 'slo', 'spare'] as const).filter((column) => width(column) > 0);
  return rows.map((row) => {
    const cells = columns.map((column) => row[column].padStart(width(column)));
    return `  ${[row.name.padEnd(width('name')), ...cells].join('  ')}`.trimEnd();
  });
}

/** A line an SLO, and one of every metric that has none. */
function judgedRows(summary: Summary, settings: FitnessSettings, scored: ScoredStatistics): ComparisonRow[] {
  const slos = activeSlos(settings);
  const shown = summary.best ?? summary.closest;
  const others = always.filter((name) => !slos.some((slo) => slo.name === name)).map((name) => ({ name }));
  const rows: (Pick<Slo, 'name'> & Partial<Slo>)[] = [...slos, ...others];
  const order = Object.keys(judged);
  return rows
    .sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
    .map((row) => {
      const { name, statistic } = row;
      const slo = slos.find((one) => one === row);
      const of = (trial: TrialSummary | null): number | null =>
        trial && measuredOf({ name, statistic }, trial.performance);
      const which = statistic ?? (typeof scored[name] === 'string' ? scored[name] : 'mean');
      return {
        name: name === 'success_rate' ? judged[name].name : `${judged[name].name} (${which})`,
        baseline: cell(of(summary.baseline), judged[name]),
        best: cell(of(shown), judged[name]),
        slo: slo === undefined ? '' : sloCell(slo),
        spare: slo === undefined ? '' : spareCell(slo, of(shown)),
      };
    });
}

/** A line a metric, its head first. */
export function comparisonRows(
  summary: Summary,
  settings: FitnessSettings,
  scored: ScoredStatistics,
): ComparisonRow[] {
  const { baseline, best } = summary;
  const shown = best ?? summary.closest;
  const hasSlos = activeSlos(settings).length > 0;
  const rest = { slo: '', spare: '' };
  return [
    {
      name: '',
      baseline: 'baseline',
      best: best === null ? 'closest' : 'best',
      slo: hasSlos ? 'SLO' : '',
      spare: hasSlos ? 'to spare' : '',
    },
    ...speeds.map((metric) => ({
      ...{ name: metric.name, ...rest },
      baseline: cell(baseline?.performance[metric.key], metric),
      best: cell(shown?.performance[metric.key], metric),
    })),
    ...judgedRows(summary, settings, scored),
    {
      ...{ name: 'SLOs', ...rest },
      baseline: sloVerdict(baseline, settings),
      best: sloVerdict(shown, settings),
    },
  ];
}

export const comparison = (summary: Summary, settings: FitnessSettings, scored: ScoredStatistics): string[] =>
  table(comparisonRows(summary, settings, scored));
