import type { Table } from '../src/config/toml.ts';
import { median, servings, study, truth } from './studies.ts';

/**
 * What a search for the load on the running service saves, and what keeping a service for the next trial: starts and
 * wall clock on the model's clock, against the true quality of what is recommended.
 */

const variants: Readonly<Record<string, Table>> = {
  'flat, cold': { load_search: 'fixed', max_evaluations: 60, reuse_service: false },
  'flat, warm': { load_search: 'fixed', max_evaluations: 60 },
  // As many as half of the flat search's starts allow, confirmations included.
  'nested, cold': { max_evaluations: 24, reuse_service: false },
  'nested, warm': { max_evaluations: 24 },
};

export interface NestedRow {
  readonly serving: string;
  readonly variant: string;
  readonly starts: number;
  readonly starts_saved: number;
  readonly benchmarks: number;
  readonly wall_clock_s: number;
  /** Of the best that any of them found, in %. */
  readonly true_quality_percent: number;
}

export async function nested(short: boolean): Promise<NestedRow[]> {
  const rows: NestedRow[] = [];
  for (const [name, serving] of Object.entries(servings)) {
    const found: {
      variant: string;
      starts: number[];
      saved: number[];
      benchmarks: number[];
      wall: number[];
      quality: number[];
    }[] = [];
    for (const [variant, table] of Object.entries(variants)) {
      const row = {
        variant,
        starts: [],
        saved: [],
        benchmarks: [],
        wall: [],
        quality: [],
      } as (typeof found)[number];
      for (let seed = 1; seed <= (short ? 3 : 90); seed++) {
        const { summary, told } = await study(serving, seed, table);
        row.starts.push(summary.starts.made);
        row.saved.push(summary.starts.saved);
        row.benchmarks.push(told.reduce((sum, { curve }) => sum + (curve?.length ?? 1), 0));
        row.wall.push(summary.duration_s);
        row.quality.push(summary.best === null ? 0 : await truth(serving, summary.best.params));
      }
      found.push(row);
    }
    const most = Math.max(...found.flatMap(({ quality }) => quality));
    for (const { variant, starts, saved, benchmarks, wall, quality } of found) {
      rows.push({
        ...{ serving: name, variant, starts: median(starts), starts_saved: median(saved) },
        ...{ benchmarks: median(benchmarks), wall_clock_s: median(wall) },
        true_quality_percent: (100 * median(quality)) / most,
      });
    }
  }
  return rows;
}
