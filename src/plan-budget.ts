import type { Settings } from './config/settings.ts';
import type { JournalEntry } from './parallel/records.ts';
import type { BudgetOptions } from './study/budget.ts';

/** What a study may cost, from its settings. */

const confirmationsOf = ({ confirmation: { runs, finalists } }: Settings): number => runs * (finalists + 1);

export function budgetOptions(
  settings: Settings,
  groups: number,
  entries: readonly JournalEntry[],
): BudgetOptions {
  return {
    ...settings.budget,
    groups,
    usedSeconds: usedSeconds(entries),
    maxEvaluations: settings.search.maxEvaluations,
    confirmations: confirmationsOf(settings),
    probes: settings.nestedLoad?.probes ?? 1,
    presets: settings.presets.length,
  };
}

/** Of all sessions of a run so far, each from its begin to its last entry. */
function usedSeconds(entries: readonly JournalEntry[]): number {
  let [used, began, last] = [0, NaN, NaN];
  for (const { type, at } of entries) {
    const moment = Date.parse(at) / 1000;
    if (type === 'run-started' || type === 'resumed') {
      if (!Number.isNaN(began)) used += last - began;
      began = moment;
    }
    last = moment;
  }
  return Number.isNaN(began) ? 0 : used + (last - began);
}

/** At most: the search's, and those that refine and measure again. */
export function plannedEvaluations(settings: Settings): number {
  const { search, twoStage, confirmation } = settings;

  const steps = twoStage === undefined || twoStage.maxSteps === 0 ? 0 : twoStage.maxSteps + 1;
  // The cheapest and the fastest of the search are refined, at most so many of each.
  return search.maxEvaluations + confirmationsOf(settings) + 2 * confirmation.finalists * steps;
}

/** Of the budget, less what earlier sessions used; null: there is none. */
export function leftSeconds(
  settings: Settings,
  groups: number,
  entries: readonly JournalEntry[],
): number | null {
  const { seconds, usedSeconds: used } = budgetOptions(settings, groups, entries);
  return seconds === undefined ? null : Math.max(0, seconds - used);
}
