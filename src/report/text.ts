import type { FitnessSettings } from '../core/fitness/fitness.ts';
import { binding, sloNames, type Violation } from '../core/fitness/slo.ts';
import { isLoad } from '../core/tuning/load-fields.ts';
import type { ParamValue } from '../core/space/field.ts';
import { paramsKey } from '../core/space/space.ts';
import { comparison, missedNames, sloValue, type ScoredStatistics } from './comparison.ts';
import type { Summary, TrialSummary } from './summary.ts';

/** The answer at the end, for a terminal. */

export const valueCell = (value: ParamValue | undefined): string =>
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
export function cautions({ best, closest }: Summary): string[] {
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
    ([name, { kind }]) => kind === 'unknown' && !isLoad({ name }),
  );
  const names = untold.map(([name]) => name).join(', ');
  return [
    ...(shown.flags.includes('simulated')
      ? ['all of this is simulated: a model stands in for the engine and its accelerators']
      : []),
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

/** `: 2044.0 tok/s at CONCURRENCY 64, 1.78 × the baseline (1.70 to 1.86)`; a gain over what may not be used is none. */
function gainText({ best, baseline, improvement, trust }: Summary, settings: FitnessSettings): string {
  const speed = (of: TrialSummary | null): number | null => of?.performance.generate_speed ?? null;
  const said = (value: number | null): string => (value === null ? '' : `${value.toFixed(1)} tok/s`);
  const load = Object.entries(best?.params ?? {})
    .filter(([name]) => isLoad({ name }))
    .map(([name, value]) => `${name} ${valueCell(value)}`);
  const at = load.length === 0 ? '' : ` at ${load.join(', ')}`;
  const own = `: ${said(speed(best))}${at}`;
  const ratio = improvement.generate_speed_ratio;
  if (ratio === null || baseline === null) return `${own}.`;
  const missed = missedNames(baseline, settings);
  if (missed.length > 0)
    return `${own}. What runs today makes ${said(speed(baseline))}, and misses ${missed.join(' and ')}.`;
  const interval = trust?.gain ?? null;
  const range = interval === null ? '' : ` (${interval.low.toFixed(2)} to ${interval.high.toFixed(2)})`;
  return `${own}, ${ratio.toFixed(2)} × the baseline${range}.`;
}

/** The answer in a sentence; more lines say more. */
export function headline(summary: Summary, settings: FitnessSettings): string {
  const { best, closest } = summary;
  if (best !== null) {
    if (best.trial_id !== 0)
      return `Trial ${best.trial_id} is the best configuration within the SLOs${gainText(summary, settings)}`;
    return summary.baseline?.params !== undefined &&
      paramsKey(best.params) !== paramsKey(summary.baseline.params)
      ? `Your present configuration is the best one found within the SLOs, at another load${gainText(summary, settings)}`
      : 'Your present configuration is the best one found within the SLOs.';
  }
  if (closest === null)
    return Object.values(summary.evaluations).every((count) => count === 0)
      ? 'Nothing was measured: there was no time for a configuration, or the run ended before one was.'
      : 'No configuration could be measured; the table says why of each.';
  if (closest.violations.length === 0)
    return `No configuration holds: trial ${closest.trial_id} was within the SLOs, and could not be served again.`;
  const missed = closest.violations.map(violationText);
  const binds = binding(closest.violations);
  return [
    `No configuration is within the SLOs. The closest is trial ${closest.trial_id}: ${missed.join('; ')}.`,
    ...(binds === undefined || missed.length === 1 ? [] : [`The SLO that binds: ${sloName(binds)}.`]),
  ].join('\n');
}

const sloName = ({ slo, statistic }: Violation): string =>
  statistic === undefined ? sloNames[slo] : `${sloNames[slo]} (${statistic})`;

function violationText(violation: Violation): string {
  const { slo, measured, limit } = violation;
  return `${sloName(violation)} ${measured === null ? 'not measured' : sloValue(slo, measured)} against ${sloValue(slo, limit)}`;
}

/** A share of 1, never rounded to certainty. */
function percent(share: number): string {
  if (share > 0.999) return '> 99.9 %';
  return share < 0.001 ? '< 0.1 %' : `${(100 * share).toFixed(1)} %`;
}

/** How far the answer holds: what measuring again says. */
export function trustLines(
  { trust, best, canary }: Summary,
  { objective = 'throughput' }: FitnessSettings,
): string[] {
  if (best === null) return [];
  if (trust === null)
    return best.measurements.some(({ confirms }) => confirms !== null)
      ? ['It was confirmed once, which is too little for an interval (see confirm_runs).']
      : ['It was measured once: the numbers may be luck (see confirm_runs).'];
  const { interval, noise, runs, beats_baseline, beats_runner_up, runner_up, demoted } = trust;
  const unit = { throughput: ' tok/s', goodput: ' req/s within their SLOs', fitness: ' (1/cost)' }[objective];
  const [low, high] = [interval.low, interval.high].map((value) => Number(value.toPrecision(4)));
  const chances = [
    ...(beats_baseline === null ? [] : [`better than the baseline: ${percent(beats_baseline)}`]),
    ...(beats_runner_up === null
      ? []
      : [`better than the runner-up, trial ${runner_up}: ${percent(beats_runner_up)}`]),
  ];
  return [
    `Measured again ${runs === 1 ? 'once' : `${runs} times`}: ${low} to ${high}${unit} when you do the same (95 %; one run scatters by ${(100 * noise).toFixed(1)} %).`,
    ...(chances.length === 0 ? [] : [`Probability that it is ${chances.join(', ')}.`]),
    ...(canary === null
      ? []
      : [
          `Its greedy answers to ${canary.prompts} questions agree with the baseline's on ${(100 * canary.agreement).toFixed(0)} %.`,
        ]),
    ...(demoted === null ? [] : [`Trial ${demoted} promised more at first and did not hold.`]),
  ];
}

export function tally({ evaluations: e, utilization, starts }: Summary): string {
  const parts = [
    `${e.measured} measured`,
    `${e.reused} reused`,
    `${e.infeasible} infeasible`,
    `${e.failed} failed`,
  ];
  const busy = utilization === null ? '' : `; groups busy ${(utilization * 100).toFixed(0)} %`;
  const services =
    starts.made === 0 ? '' : ` Services started: ${starts.made}, starts saved: ${starts.saved}.`;
  return `Evaluations: ${parts.join(', ')}${busy}.${services}`;
}

/** @param file the words to copy for an artifact of the run */
export function answerText(
  summary: Summary,
  settings: FitnessSettings,
  scored: ScoredStatistics,
  file: (name: string) => string,
): string {
  const { best_launch: launch, report, csv } = summary.artifacts;
  return [
    '',
    headline(summary, settings),
    '',
    ...(summary.best === null && summary.closest === null
      ? []
      : [...comparison(summary, settings, scored), '', ...parameters(summary), '']),
    ...trustLines(summary, settings),
    ...cautions(summary),
    tally(summary),
    ...(launch === undefined
      ? []
      : [
          `Launch:   sh ${file(launch)} RANK   (RANK 0 is the master; configuration: ${file('best/config.json')})`,
        ]),
    ...(report === undefined ? [] : [`Report:   ${file(report)}`]),
    `Results:  ${file('summary.json')}`,
    ...(csv === undefined ? [] : [`Table:    ${file(csv)}`]),
    '',
  ].join('\n');
}
