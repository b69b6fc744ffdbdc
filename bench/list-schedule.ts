/** Each job goes to the machine that is free first. */
export function listSchedule(
  jobs: readonly number[],
  machines: number,
): { makespan: number; idleTail: number } {
  const free = new Array<number>(machines).fill(0);
  for (const job of jobs) {
    const first = free.indexOf(Math.min(...free));
    free[first] = (free[first] ?? 0) + job;
  }
  const makespan = Math.max(...free);
  return { makespan, idleTail: free.reduce((sum, end) => sum + makespan - end, 0) };
}
