import type { FitnessSettings, Judged, Percentiles } from './fitness.ts';

export type SloName =
  | 'time_to_first_token'
  | 'time_per_output_token'
  | 'inter_token_latency'
  | 'end_to_end_latency'
  | 'success_rate';

/** As people call them. */
export const sloNames: Readonly<Record<SloName, string>> = {
  time_to_first_token: 'TTFT',
  time_per_output_token: 'TPOT',
  inter_token_latency: 'ITL',
  end_to_end_latency: 'E2EL',
  success_rate: 'success rate',
};

export type SloStatistic = keyof Percentiles;

/** An SLO in the user's words, such as "ttft:p99<=500ms". */
export interface StatedSlo {
  readonly name: SloName;
  /** undefined: the statistic that the benchmark scores. */
  readonly statistic?: SloStatistic | undefined;
  /** Seconds, or a share for the success rate. */
  readonly limit: number;
  /** Counts in the cost alone: a configuration that misses it can still be recommended. */
  readonly soft: boolean;
  /** By which share of the limit a configuration may miss it and still be recommended. */
  readonly slack: number;
}

export interface Slo extends StatedSlo {
  readonly atLeast: boolean;
  /** How steeply the cost grows beyond the limit. */
  readonly penalty: number;
}

/** An SLO that a configuration misses. */
export interface Violation {
  readonly slo: SloName;
  readonly statistic?: SloStatistic;
  /** Seconds, or a share for the success rate. */
  readonly limit: number;
  readonly measured: number | null;
}

const latencies = {
  time_to_first_token: 'ttft_ms',
  time_per_output_token: 'tpot_ms',
  inter_token_latency: 'itl_ms',
  end_to_end_latency: 'e2el_ms',
} as const;

/** Seconds, or a share; null where it was not measured. */
export function measuredOf(
  { name, statistic }: Pick<Slo, 'name' | 'statistic'>,
  judged: Judged,
): number | null {
  if (name === 'success_rate') return judged.success_rate;
  const scored =
    name === 'time_to_first_token' || name === 'time_per_output_token' ? judged[name] : undefined;
  if (statistic === undefined && scored !== undefined) return scored;
  const value = judged.percentiles?.[latencies[name]]?.[statistic ?? 'mean'];
  return value === undefined ? null : value / 1000;
}

/** The penalties of the original's keys: an SLO with none of them is switched off. */
function penaltyOf(
  name: SloName,
  { ttft_penalty, tpot_penalty, success_rate_penalty }: FitnessSettings,
): number {
  if (name === 'success_rate') return success_rate_penalty;
  return name === 'time_per_output_token' ? tpot_penalty : ttft_penalty;
}

const known = new WeakMap<FitnessSettings, readonly Slo[]>();

/** Those that the user stated, and those of the original's keys about what was not stated. */
export function activeSlos(settings: FitnessSettings): readonly Slo[] {
  let slos = known.get(settings);
  if (slos === undefined) known.set(settings, (slos = slosOf(settings)));
  return slos;
}

function slosOf(settings: FitnessSettings): Slo[] {
  const { slos: stated = [], ttft_slo, tpot_slo, success_rate_slo } = settings;
  const keys: [SloName, number][] = [
    ['time_to_first_token', ttft_slo],
    ['time_per_output_token', tpot_slo],
    ['success_rate', success_rate_slo],
  ];
  const fromKeys = keys
    .filter(([name]) => penaltyOf(name, settings) !== 0 && !stated.some((one) => one.name === name))
    .map(([name, limit]) => ({ name, limit, soft: false, slack: 0 }));
  return [...fromKeys, ...stated].map((one) => ({
    ...one,
    atLeast: one.name === 'success_rate',
    // What is stated counts, whatever the keys switch off.
    penalty: penaltyOf(one.name, settings) || 1,
  }));
}

/** The hard ones that are missed. An SLO is met up to the value itself; what was not measured is not met. */
export function violations(judged: Judged, settings: FitnessSettings): Violation[] {
  return activeSlos(settings)
    .filter(({ soft }) => !soft)
    .flatMap((slo) => {
      const { name, statistic, limit, slack, atLeast } = slo;
      const measured = measuredOf(slo, judged);
      const met =
        measured !== null && (atLeast ? measured >= limit * (1 - slack) : measured <= limit * (1 + slack));
      return met ? [] : [{ slo: name, ...(statistic === undefined ? {} : { statistic }), limit, measured }];
    });
}

/** How far outside its limit, relative. */
const excess = ({ limit, measured }: Violation): number =>
  measured === null ? Infinity : Math.abs(measured - limit) / limit;

/** How far a configuration is outside its SLOs: the sum of the relative excesses. */
export const distance = (missed: readonly Violation[]): number =>
  missed.reduce((sum, one) => sum + excess(one), 0);

/** The one that is missed by most: the SLO that binds. */
export const binding = (missed: readonly Violation[]): Violation | undefined =>
  [...missed].sort((a, b) => excess(b) - excess(a))[0];

/** The hard SLO that is nearest to its limit, and the share of the limit that is left; below 0 where it is missed. */
export function spareOf(
  judged: Judged,
  settings: FitnessSettings,
): { readonly slo: string; readonly share: number } | undefined {
  const [least] = activeSlos(settings)
    // A success rate of 1 has nothing to spare, which says nothing.
    .filter(({ soft, atLeast }) => !soft && !atLeast)
    .flatMap((slo) => {
      const measured = measuredOf(slo, judged);
      return measured === null
        ? []
        : [{ slo: sloNames[slo.name], share: (slo.limit - measured) / slo.limit }];
    })
    .sort((a, b) => a.share - b.share);
  return least;
}
