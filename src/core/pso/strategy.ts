import type { Coefficients } from './step.ts';

/** How a coefficient goes from its start to its end over the run. */
export type Schedule = 'exp_decay' | 'nonlin_mod' | 'lin_variation';
export type Strategy = Partial<Readonly<Record<keyof Coefficients, Schedule>>>;

const decayRate = 7;
const power = 1.2;

/** Where the coefficients of the original end: inertia at 0.4, the pull to the own best at 80 %. */
function endsOf({ c1, c2 }: Coefficients): Coefficients {
  return { w: 0.4, c1: 0.8 * c1, c2 };
}

/** 1 at the start, 0 at the end. */
function remaining(schedule: Schedule, progress: number): number {
  switch (schedule) {
    case 'lin_variation':
      return 1 - progress;
    case 'nonlin_mod':
      return (1 - progress) ** power;
    case 'exp_decay': {
      // The original's curve, brought to where it starts and ends: as it is, it turns coefficients negative.
      const curve = (at: number): number => Math.exp(1 / (1 + decayRate * at));
      return (curve(progress) - curve(1)) / (curve(0) - curve(1));
    }
  }
}

/** @param progress share of the run that is over, 0 … 1 */
export function scheduled(start: Coefficients, strategy: Strategy, progress: number): Coefficients {
  const ends = endsOf(start);
  const at = (name: keyof Coefficients): number => {
    const schedule = strategy[name];
    if (schedule === undefined) return start[name];
    const end = Math.min(ends[name], start[name]);
    return end + (start[name] - end) * remaining(schedule, Math.min(1, Math.max(0, progress)));
  };
  return { w: at('w'), c1: at('c1'), c2: at('c2') };
}
