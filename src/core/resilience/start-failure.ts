import type { Blame } from '../../base/errors.ts';

export interface Pattern {
  readonly text: string;
  readonly ignoreCase?: boolean;
  readonly blame: Blame;
  readonly remedy: string;
  readonly fatal: boolean;
  /** The line in plain words, with `$1`, `$2` … of the expression. */
  readonly sentence?: { readonly match: RegExp; readonly words: string };
}

/** What is known when a process of a service ended although it should not have. */
export interface Death {
  /** Exit code; 128 + n for signal n. */
  readonly exitCode: number;
  /** Newest log lines, oldest first. */
  readonly tail: readonly string[];
  readonly patterns: readonly Pattern[];
  /** A service of this run has been healthy on this group before. */
  readonly groupProven: boolean;
  /** A service of this run has been healthy on any group before. */
  readonly runProven: boolean;
  /** It was the present configuration of the user. */
  readonly isCurrent: boolean;
}

export interface Diagnosis {
  readonly blame: Blame;
  readonly reason: string;
  readonly remedy: string;
}

export function matches(pattern: Pattern, line: string): boolean {
  return pattern.ignoreCase === true
    ? line.toLowerCase().includes(pattern.text.toLowerCase())
    : line.includes(pattern.text);
}

/** The first line in causal order that one of the patterns knows. */
export function firstMatch(
  lines: readonly string[],
  patterns: readonly Pattern[],
): { readonly line: string; readonly pattern: Pattern } | undefined {
  for (const line of lines) {
    const pattern = patterns.find((candidate) => matches(candidate, line));
    if (pattern !== undefined) return { line, pattern };
  }
  return undefined;
}

/** What a known line says, as a sentence where its pattern has one. */
export function reasonOf({ line, pattern }: { readonly line: string; readonly pattern: Pattern }): string {
  const found = pattern.sentence?.match.exec(line);
  const words =
    found && pattern.sentence?.words.replace(/\$(\d)/g, (_, group: string) => found[Number(group)] ?? '');
  const reason = words ?? line.trim().slice(0, 300);
  return pattern.blame === 'params' ? `${reason}; not retried` : reason;
}

/** Who is to blame for a service that ended by itself. */
export function diagnose(death: Death): Diagnosis {
  const { exitCode } = death;
  const last = death.tail.findLast((line) => line.trim() !== '');
  const ending = `it ended with exit code ${exitCode}${last === undefined ? '' : `; last line: ${last.trim().slice(0, 300)}`}`;
  const known = firstMatch(death.tail, death.patterns);
  if (known !== undefined) {
    return {
      blame: known.pattern.blame,
      reason: reasonOf(known),
      remedy: known.pattern.remedy,
    };
  }
  if (exitCode === 127) {
    return {
      blame: 'operator',
      reason: `a command was not found: ${ending}`,
      remedy:
        'Check that the start script and what it calls exist on this node; a relative path counts from work_dir.',
    };
  }
  if (exitCode === 126) {
    return {
      blame: 'operator',
      reason: `a command is not executable: ${ending}`,
      remedy: 'Make the start script executable on this node (chmod +x).',
    };
  }
  if (exitCode === 137) {
    return {
      blame: 'node',
      reason: `it was killed (${ending})`,
      remedy: 'Look for the out-of-memory killer of the host (dmesg).',
    };
  }
  if (death.isCurrent && !death.runProven) {
    return {
      blame: 'operator',
      reason: `your present configuration does not start: ${ending}`,
      remedy: 'Start the service by hand with the command in the service log, mend it, and run again.',
    };
  }
  if (death.groupProven) {
    return {
      blame: 'params',
      reason: ending,
      remedy: 'This configuration does not start here although others do; see the service log.',
    };
  }
  return {
    blame: 'node',
    reason: ending,
    remedy: 'No service has started on this group yet; see the service log.',
  };
}
