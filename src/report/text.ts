import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { activeSlos, violations, type Slo } from '../core/fitness/slo.ts';
import type { ParamValue } from '../core/space/field.ts';
import type { Summary, TrialSummary } from './summary.ts';

/** The answer at the end, for a terminal. */

interface Row {
  readonly name: string;
  readonly baseline: string;
  readonly best: string;
  readonly slo: string;
  /** How far the best is from its SLO. */
  readonly spare: string;
}

const metrics = [
  { key: 'generate_speed', name: 'throughput', factor: 1, digits: 1, unit: 'tok/s' },
  { key: 'throughput', name: 'requests', factor: 1, digits: 2, unit: 'req/s' },
  { key: 'time_to_first_token', name: 'TTFT', factor: 1000, digits: 1, unit: 'ms' },
  { key: 'time_per_output_token', name: 'TPOT', factor: 1000, digits: 2, unit: 'ms' },
  { key: 'success_rate', name: 'success rate', factor: 100, digits: 1, unit: '%' },
] as const;

function cell(value: number | null | undefined, { factor, digits, unit }: (typeof metrics)[number]): string {
  return value === null || value === undefined ? '–' : `${(value * factor).toFixed(digits)} ${unit}`;
}

function sloCell(metric: (typeof metrics)[number], slos: readonly Slo[]): string {
  const slo = slos.find(({ name }) => name === metric.key);
  if (slo === undefined) return '';
  const limit = slo.limit * metric.factor;
  return `${slo.atLeast ? '≥' : '≤'} ${Number(limit.toPrecision(6))} ${metric.unit}`;
}

function sloVerdict(trial: TrialSummary | null, settings: FitnessSettings): string {
  if (trial === null) return '–';
  const missed = violations(trial.performance, settings);
  return missed.length === 0 ? 'met' : `missed: ${missed.map(({ slo }) => slo).join(', ')}`;
}

/** The numbers to the right, the names to the left; columns that nobody fills are not there. */
function table(rows: readonly Row[]): string[] {
  const width = (column: keyof Row): number => Math.max(...rows.map((row) => row[column].length));
  const columns = (['baseline', 'best', 'slo', 'spare'] as const).filter((column) => width(column) > 0);
  return rows.map((row) => {
    const cells = columns.map((column) => row[column].padStart(width(column)));
    return `  ${[row.name.padEnd(width('name')), ...cells].join('  ')}`.trimEnd();
  });
}

/** The share of an SLO that is left; with a minus where it is missed. */
function spareCell(
  metric: (typeof metrics)[number],
  trial: TrialSummary | null,
  slos: readonly Slo[],
): string {
  const slo = slos.find(({ name }) => name === metric.key);
  const measured = trial?.performance[metric.key];
  if (slo === undefined || measured === undefined || measured === null) return '';
  const share = (slo.atLeast ? measured - slo.limit : slo.limit - measured) / slo.limit;
  return `${(100 * share).toFixed(0)} %`.replace('-0 ', '0 ');
}

/** Which statistic of a latency is scored, where the benchmark leaves the choice. */
export type ScoredStatistics = Readonly<Partial<Record<string, unknown>>>;

function metricName({ key, name }: (typeof metrics)[number], scored: ScoredStatistics): string {
  if (!key.startsWith('time_')) return name;
  const which = scored[key];
  return `${name} (${typeof which === 'string' ? which : 'mean'})`;
}

function comparison(summary: Summary, settings: FitnessSettings, scored: ScoredStatistics): string[] {
  const slos = activeSlos(settings);
  const shown = summary.best ?? summary.closest;
  const { baseline } = summary;
  return table([
    {
      name: '',
      baseline: 'baseline',
      best: summary.best === null ? 'closest' : 'best',
      slo: slos.length === 0 ? '' : 'SLO',
      spare: slos.length === 0 ? '' : 'to spare',
    },
    ...metrics.map((metric) => ({
      name: metricName(metric, scored),
      baseline: cell(baseline?.performance[metric.key], metric),
      best: cell(shown?.performance[metric.key], metric),
      slo: sloCell(metric, slos),
      spare: spareCell(metric, shown, slos),
    })),
    {
      name: 'SLOs',
      baseline: sloVerdict(baseline, settings),
      best: sloVerdict(shown, settings),
      slo: '',
      spare: '',
    },
  ]);
}

const valueCell = (value: ParamValue | undefined): string =>
  typeof value === 'number' ? String(Number(value.toPrecision(6))) : String(value);

function parameters(summary: Summary): string[] {
  const shown = summary.best ?? summary.closest;
  if (shown === null) return [];
  const names = Object.keys(shown.params);
  const width = Math.max(...names.map((name) => name.length));
  return names.map((name) => {
    const before = summary.baseline?.params[name];
    const now = shown.params[name];
    const change = before === undefined || before === now ? '' : `   (baseline ${valueCell(before)})`;
    return `  ${name.padEnd(width)}  ${valueCell(now)}${change}`;
  });
}

/** What a reader of the answer must know beside its numbers. */
function cautions({ best, closest }: Summary): string[] {
  const shown = best ?? closest;
  if (shown === null) return [];
  const adjusted = Object.entries(shown.effects ?? {}).flatMap(([name, effect]) =>
    effect.kind === 'adjusted'
      ? [
          `${name}: asked for ${valueCell(shown.params[name])}, the service ran with ${valueCell(effect.effective)}`,
        ]
      : [],
  );
  const untold = Object.entries(shown.effects ?? {}).filter(
    ([name, { kind }]) => kind === 'unknown' && !/CONCURRENCY|REQUESTRATE/.test(name),
  );
  const names = untold.map(([name]) => name).join(', ');
  return [
    ...adjusted,
    ...(untold.length === 0 ? [] : [`${names}: the service does not tell what it ran with`]),
    ...(shown.changes_numerics.length === 0
      ? []
      : [
          `${shown.changes_numerics.join(', ')}: changes what the model computes; check the quality of its answers`,
        ]),
    ...shown.flags.filter((flag) => flag !== 'simulated'),
  ].map((text) => `Note: ${text}.`);
}

function headline(summary: Summary): string {
  const ratio = summary.improvement.generate_speed_ratio;
  const { best, closest } = summary;
  if (best !== null) {
    const gain = ratio === null ? '' : `, ${ratio.toFixed(2)} × the baseline`;
    return best.trial_id === 0
      ? 'Your present configuration is the best one found within the SLOs.'
      : `Trial ${best.trial_id} is the best configuration within the SLOs${gain}.`;
  }
  if (closest === null) return 'No configuration could be measured; the table says why of each.';
  const missed = closest.violations.map(
    ({ slo, limit, measured }) => `${slo} ${measured ?? 'not measured'} against ${limit}`,
  );
  return `No configuration is within the SLOs. The closest is trial ${closest.trial_id}: ${missed.join('; ')}.`;
}

function tally({ evaluations: e, utilization }: Summary): string {
  const parts = [
    `${e.measured} measured`,
    `${e.reused} reused`,
    `${e.infeasible} infeasible`,
    `${e.failed} failed`,
  ];
  const busy = utilization === null ? '' : `; groups busy ${(utilization * 100).toFixed(0)} %`;
  return `Evaluations: ${parts.join(', ')}${busy}.`;
}

/** @param file the words to copy for an artifact of the run */
export function answerText(
  summary: Summary,
  settings: FitnessSettings,
  scored: ScoredStatistics,
  file: (name: string) => string,
): string {
  const launch = summary.artifacts['best_launch'];
  return [
    '',
    headline(summary),
    '',
    ...(summary.best === null && summary.closest === null
      ? []
      : [...comparison(summary, settings, scored), '', ...parameters(summary), '']),
    ...cautions(summary),
    tally(summary),
    ...(launch === undefined
      ? []
      : [
          `Launch:   sh ${file(launch)} RANK   (RANK 0 is the master; configuration: ${file('best/config.json')})`,
        ]),
    `Results:  ${file('summary.json')}`,
    `Table:    ${file(summary.artifacts['csv'] ?? '')}`,
    '',
  ].join('\n');
}
