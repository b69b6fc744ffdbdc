import leven from 'leven';
import { ConfigurationError } from '../base/errors.ts';

/** One thing wrong with a configuration: where, what stands there, what should. */
export interface ConfigProblem {
  /** File, environment variable or flag. */
  readonly source: string;
  /** Dotted key path, or `line:column` of a text file. */
  readonly at: string;
  readonly value?: unknown;
  readonly expected: string;
}

function format(problem: ConfigProblem): string {
  const given = problem.value === undefined ? '' : ` ${JSON.stringify(problem.value)}`;
  const at = problem.at === '' ? problem.source : `${problem.source}: ${problem.at}:`;
  return `  ${at}${given} → ${problem.expected}`;
}

/** All problems of a configuration at once. */
export class InvalidConfiguration extends ConfigurationError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
    super(
      [`The configuration has ${count}:`, ...problems.map(format)].join('\n'),
      {},
      { remedy: problems.length === 1 ? 'Correct it and start again.' : 'Correct them and start again.' },
    );
    this.problems = problems;
  }
}

/** Slips of the fingers between two words: the letters swapped are one. */
function slips(a: string, b: string): number {
  const distance = leven(a, b);
  const letters = (word: string): string => Array.from(word).sort().join('');
  const isSwapped = distance === 2 && letters(a) === letters(b);
  return isSwapped ? 1 : distance;
}

/** ` (did you mean 'x'?)`, or nothing when no name is near. */
export function didYouMean(unknown: string, known: readonly string[]): string {
  const near = known
    .map((name) => ({ name, distance: slips(unknown.toLowerCase(), name.toLowerCase()) }))
    .filter(
      ({ name, distance }) =>
        distance <= Math.max(1, Math.floor(Math.max(name.length, unknown.length) * 0.34)),
    )
    .sort((a, b) => a.distance - b.distance)[0];
  return near === undefined ? '' : ` (did you mean '${near.name}'?)`;
}
