import { median, measure, noise, servings, study } from './studies.ts';

/**
 * Whether the interval of an answer holds: every study's recommendation is measured as often again, and once, with
 * noise of its own.
 */

export interface ConfirmationRow {
  readonly serving: string;
  readonly studies: number;
  /** Of the means of as many new measurements. */
  readonly covers_percent: number;
  readonly covers_one_percent: number;
  readonly half_width_percent: number;
  readonly noise_seen_percent: number;
  readonly demoted_percent: number;
}

export async function confirmation(short: boolean): Promise<ConfirmationRow[]> {
  const rows: ConfirmationRow[] = [];
  for (const [name, serving] of Object.entries(servings)) {
    const [covered, one, widths, seen, demoted] = [[], [], [], [], []] as number[][];
    const studies = short ? 15 : 100;
    for (let seed = 1; seed <= studies; seed++) {
      const { summary } = await study(serving, 1000 + seed, { max_evaluations: 12 });
      const { trust, best } = summary;
      if (trust === null || best === null) continue;
      const speeds: number[] = [];
      for (let run = 0; run < trust.runs; run++) {
        const again = await measure(serving, best.params, { noise, seed: seed * 100 + run });
        speeds.push(again?.performance.generate_speed ?? 0);
      }
      const { low, high } = trust.interval;
      const inside = (value: number): number => Number(low <= value && value <= high);
      covered?.push(
        inside(Math.exp(speeds.reduce((sum, value) => sum + Math.log(value), 0) / speeds.length)),
      );
      one?.push(inside(speeds[0] ?? 0));
      widths?.push((Math.sqrt(high / low) - 1) * 100);
      seen?.push(100 * trust.noise);
      demoted?.push(Number(trust.demoted !== null));
    }
    const share = (values: readonly number[] = []): number =>
      (100 * values.reduce((sum, value) => sum + value, 0)) / values.length;
    rows.push({
      ...{ serving: name, studies: covered?.length ?? 0 },
      ...{ covers_percent: share(covered), covers_one_percent: share(one) },
      ...{ half_width_percent: median(widths ?? []), noise_seen_percent: median(seen ?? []) },
      demoted_percent: share(demoted),
    });
  }
  return rows;
}
