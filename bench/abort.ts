import { createRng } from '../src/base/rng.ts';
import { fitness } from '../src/core/fitness/fitness.ts';
import { violations } from '../src/core/fitness/slo.ts';
import type { ServingParams } from '../src/core/space/field.ts';
import { createSearchSpace } from '../src/core/space/space.ts';
import { isHopeless, type Limit } from '../src/parallel/incumbent.ts';
import { measure, noise as usualNoise, servings, settingsFor } from './studies.ts';

/**
 * Benchmarks that are ended because nothing can save them: how many of them would have won after all, and what is saved
 * of the benchmarks' time. Every measurement is made twice, to its end and with the abort, against the best so far.
 */

export interface AbortRow {
  readonly serving: string;
  readonly noise_percent: number;
  readonly benchmarks: number;
  readonly ended_early: number;
  readonly wrong: number;
  /** Truly better than the best so far, by the model without noise. */
  readonly unlucky: number;
  readonly time_saved_percent: number;
}

export async function abort(short: boolean): Promise<AbortRow[]> {
  const rows: AbortRow[] = [];
  for (const [name, serving] of Object.entries(servings)) {
    for (const noise of [0, usualNoise]) rows.push(await rowOf(name, serving, noise, short ? 3 : 30));
  }
  return rows;
}

type Serving = (typeof servings)[string];
type Counts = Record<'benchmarks' | 'early' | 'wrong' | 'unlucky' | 'whole' | 'spent', number>;
/** The best so far, and what it truly is. */
type Best = Limit & { readonly truth: number };

async function rowOf(name: string, serving: Serving, noise: number, studies: number): Promise<AbortRow> {
  const counts: Counts = { benchmarks: 0, early: 0, wrong: 0, unlucky: 0, whole: 0, spent: 0 };
  const space = createSearchSpace(settingsFor(serving).nestedLoad?.fields ?? []);
  for (let seed = 1; seed <= studies; seed++) {
    const rng = createRng(seed).fork('abort');
    let best: Best | undefined;
    for (let trial = 0; trial < 60; trial++) {
      const params = space.decode(Array.from({ length: space.dimensions }, () => rng.next()));
      best = await twice(serving, params, { noise, seed: seed * 1000 + trial, best, counts });
    }
  }
  const { benchmarks, early, wrong, unlucky, whole, spent } = counts;
  return {
    ...{ serving: name, noise_percent: 100 * noise, benchmarks, ended_early: early, wrong, unlucky },
    time_saved_percent: 100 * (1 - spent / whole),
  };
}

/** To its end, and with the abort. @returns the best from now on */
async function twice(
  serving: Serving,
  params: ServingParams,
  {
    best,
    counts,
    ...about
  }: {
    readonly noise: number;
    readonly seed: number;
    readonly best: Best | undefined;
    readonly counts: Counts;
  },
): Promise<Best | undefined> {
  const { fitness: slos } = settingsFor(serving);
  const full = await measure(serving, params, about);
  const exact = full && (await measure(serving, params, { ...about, noise: 0 }));
  if (full === undefined || exact === undefined) return best;
  const cost = fitness(full.performance, slos).fitness;
  const truth = fitness(exact.performance, slos).fitness;
  counts.benchmarks++;
  counts.whole += secondsOf(full);
  const cut =
    best &&
    (await measure(serving, params, { ...about, isHopeless: (bounds) => isHopeless(bounds, best, slos) }));
  if (cut?.censored !== undefined && best !== undefined) {
    counts.early++;
    counts.spent += Number(/after ([\d.]+) s/.exec(cut.flags.join())?.[1]);
    if (cost < best.fitness) counts.wrong++;
    if (truth < best.truth) counts.unlucky++;
    return best;
  }
  counts.spent += secondsOf(full);
  const isBetter = violations(full.performance, slos).length === 0 && cost < (best?.fitness ?? Infinity);
  return isBetter ? { fitness: cost, performance: full.performance, truth } : best;
}

const secondsOf = ({
  numPrompts,
  performance,
}: {
  readonly numPrompts: number;
  readonly performance: { readonly throughput: number | null };
}): number => numPrompts / (performance.throughput ?? 1);
