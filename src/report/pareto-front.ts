/** Those that nothing else is at least as good as in everything, and better in one. Less is better, of all of them. */
export function paretoFront<T>(all: readonly T[], of: (one: T) => readonly number[]): T[] {
  // By the first coordinate, so that whatever dominates comes before what it dominates.
  const sorted = all
    .map((one) => ({ one, at: of(one) }))
    .sort((a, b) => a.at.reduce((order, x, i) => (order === 0 ? x - (b.at[i] ?? 0) : order), 0));
  const front: typeof sorted = [];
  for (const candidate of sorted) {
    const isDominated = front.some(({ at }) => at.every((x, i) => x <= (candidate.at[i] ?? Infinity)));
    if (!isDominated) front.push(candidate);
  }
  return front.map(({ one }) => one);
}
