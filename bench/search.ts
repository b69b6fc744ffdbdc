import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import pLimit from 'p-limit';
import { quantileSorted } from 'simple-statistics';
import { createRng } from '../src/base/rng.ts';
import type { Optimizer } from '../src/core/pso/optimizer.ts';
import { PSOOptimizer } from '../src/core/pso/pso.ts';
import { RandomSearch } from '../src/core/pso/random.ts';
import { SynchronousPso } from '../src/core/pso/synchronous.ts';
import { race, type Race } from './race.ts';
import { runFile } from '../test/parity/run.ts';
import { testFunctions } from './functions.ts';
import { randomScenarios, tuningScenarios, type Scenario } from './scenarios.ts';

/**
 * Which search finds the better configuration sooner: on the project's model of serving engines, with noise, faults
 * and unequal durations. Ratios of expected time are to the original's swarm at the same number of groups; a method
 * starts again where it missed, and a ratio to one that never hits is not given.
 */

const evaluations = 100;
const noise = 0.03;

const methods: Readonly<Record<string, (scenario: Scenario, seed: number) => Optimizer>> = {
  original: ({ space }, seed) =>
    new SynchronousPso({
      ...{ space, seed, maxEvaluations: evaluations, particles: 10 },
      ...{ coefficients: { c1: 2, c2: 2, w: 1.8 }, ftol: -Infinity, ftolIter: 1 },
    }),
  random: ({ space }, seed) => new RandomSearch({ space, seed, maxEvaluations: evaluations }),
  'without surrogate': ({ space }, seed) =>
    new PSOOptimizer({ space, seed, maxEvaluations: evaluations, particles: 10 }),
  default: ({ space, composition }, seed) =>
    new PSOOptimizer({
      ...{ space, seed, maxEvaluations: evaluations, particles: 10, surrogate: true },
      composition,
    }),
};

export interface SearchRow {
  readonly scenarios: string;
  readonly groups: number;
  readonly method: string;
  readonly hits_percent: number;
  readonly expected_time_ratio: number | null;
  readonly interval_90: string;
  readonly gap_20_percent: number;
  readonly gap_50_percent: number;
  readonly gap_100_percent: number;
  readonly makespan_ratio: number;
  readonly ask_ms: number;
}

const median = (values: readonly number[]): number =>
  quantileSorted(
    [...values].sort((a, b) => a - b),
    0.5,
  );
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Time spent for a hit: what missed is paid for by what hit. */
function expectedTime(races: readonly Race[]): number {
  const hits = races.filter(({ hitS }) => hitS !== undefined).length;
  return hits === 0 ? Infinity : sum(races.map(({ hitS, totalS }) => hitS ?? totalS)) / hits;
}

/** Scenarios are of one weight: the ratio is the geometric mean of theirs. */
function timeRatio(mine: readonly (readonly Race[])[], original: readonly (readonly Race[])[]): number {
  const logs = mine.flatMap((races, index) => {
    const ratio = expectedTime(races) / expectedTime(original[index] ?? []);
    // 0 where the original never hit: no ratio to that.
    return Number.isFinite(ratio) && ratio > 0 ? [Math.log(ratio)] : [];
  });
  return logs.length === 0 ? NaN : Math.exp(sum(logs) / logs.length);
}

function interval(mine: readonly (readonly Race[])[], original: readonly (readonly Race[])[]): string {
  const rng = createRng(1);
  const resampled = (races: readonly Race[]): Race[] =>
    races.map(() => races[Math.floor(rng.next() * races.length)] as Race);
  const ratios = Array.from({ length: 400 }, () => timeRatio(mine.map(resampled), original.map(resampled)))
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  if (ratios.length === 0) return '';
  return [0.05, 0.95].map((q) => quantileSorted(ratios, q).toFixed(2)).join(' to ');
}

/** The best that is known: of many points, and of the neighbours of the best of them. */
function bestKnown(scenario: Scenario): number {
  const rng = createRng(99);
  const { space } = scenario;
  const cost = (x: readonly number[]): number => {
    const truth = scenario.truth(space.decode(x));
    return truth.kind === 'scored' ? truth.fitness : Infinity;
  };
  let [at, best] = [space.encode(space.current), Infinity];
  for (let i = 0; i < 3000; i++) {
    const width = i < 1500 ? 1 : 0.15 * (1 - (i - 1500) / 1500) + 0.01;
    const x =
      i < 1500
        ? at.map(() => rng.next())
        : at.map((u) =>
            rng.next() < 0.5 ? u : Math.min(1, Math.max(0, u + (rng.next() - 0.5) * 2 * width)),
          );
    const found = cost(x);
    if (found < best) [at, best] = [x, found];
  }
  return best;
}

function rowsOf(name: string, scenarios: readonly Scenario[], groups: number, seeds: number): SearchRow[] {
  const bests = scenarios.map((scenario) => scenario.best ?? bestKnown(scenario));
  const all = Object.entries(methods).map(([method, make]) => ({
    method,
    races: scenarios.map((scenario, index) =>
      Array.from({ length: seeds }, (_, seed) =>
        race(make(scenario, seed), {
          ...{ scenario, best: bests[index] as number, groups, seed, noise },
          // The original recommends its best measurement.
          confirms: method !== 'original',
        }),
      ),
    ),
  }));
  const original = all.find(({ method }) => method === 'original')?.races ?? [];
  return all.map(({ method, races }) => {
    const flat = races.flat();
    const ratio = timeRatio(races, original);
    return {
      scenarios: name,
      groups,
      method,
      hits_percent: (100 * flat.filter(({ hitS }) => hitS !== undefined).length) / flat.length,
      expected_time_ratio: Number.isFinite(ratio) ? ratio : null,
      interval_90: method === 'original' ? '' : interval(races, original),
      gap_20_percent: 100 * median(flat.map(({ gaps }) => gaps[0])),
      gap_50_percent: 100 * median(flat.map(({ gaps }) => gaps[1])),
      gap_100_percent: 100 * median(flat.map(({ gaps }) => gaps[2])),
      makespan_ratio: median(flat.map(({ makespanRatio }) => makespanRatio)),
      ask_ms: sum(flat.map(({ askMs }) => askMs)) / flat.length,
    };
  });
}

/** The swarm that all others are set against moves as the original's did. @throws where it does not */
async function checkOriginal(): Promise<void> {
  const vectors = resolve(import.meta.dirname, '../test/fixtures/parity');
  const { passed, failed, errors } = await runFile(vectors, 'pso_run.json');
  if (failed > 0 || passed === 0)
    throw new Error(`the original's swarm is another one: ${errors.join('; ')}`);
  console.log(`pso_run.json: ${passed} recorded runs of the original's swarm are the same`);
}

const parts: Readonly<Record<string, () => readonly Scenario[]>> = {
  tuning: () => tuningScenarios().filter(({ heldBack }) => !heldBack),
  'held back': () => tuningScenarios().filter(({ heldBack }) => heldBack),
  functions: testFunctions,
  'at random': () => randomScenarios('at random'),
  'long prompts': () => randomScenarios('long prompts'),
};

/** All searches on one kind of scenarios. */
export const searchRows = (part: string, groups: number, seeds: number): readonly SearchRow[] =>
  rowsOf(part, parts[part]?.() ?? [], groups, seeds);

const execute = promisify(execFile);

async function inAnotherProcess(part: string, groups: number, seeds: number): Promise<readonly SearchRow[]> {
  const tsx = resolve(import.meta.dirname, '../node_modules/.bin/tsx');
  const script = resolve(import.meta.dirname, 'search-worker.ts');
  const { stdout } = await execute(tsx, [script, part, String(groups), String(seeds)]);
  console.error(`${part}, ${groups} groups: done`);
  return JSON.parse(stdout) as readonly SearchRow[];
}

export async function search(short: boolean): Promise<readonly SearchRow[]> {
  await checkOriginal();
  const usual = ['tuning', 'held back', 'functions'];
  if (short) return usual.flatMap((part) => searchRows(part, 4, 1));
  const limit = pLimit(availableParallelism());
  const job = async (part: string, groups: number, seeds: number) =>
    limit(inAnotherProcess, part, groups, seeds);
  const jobs = [
    ...usual.flatMap((part) => [1, 4, 8, 16].map(async (groups) => job(part, groups, 30))),
    ...['at random', 'long prompts'].map(async (part) => job(part, 4, 15)),
  ];
  return (await Promise.all(jobs)).flat();
}
