import type { Blame } from '../../base/errors.ts';

export interface Pattern {
  readonly text: string;
  readonly ignoreCase?: boolean;
  /** A second sub-string that the line must contain. */
  readonly also?: string;
  readonly blame: Blame;
  readonly remedy: string;
  readonly fatal: boolean;
  /** Tells that the service ends, not why: it never decides the blame. */
  readonly wrapper?: boolean;
  /** What a victim says, or a warning that is often harmless: only where nobody tells more. */
  readonly weak?: boolean;
  /** The configuration is at fault, unless device memory is in use by something else. */
  readonly ambiguous?: boolean;
  /** The line in plain words, with `$1`, `$2` … of the expression. */
  readonly sentence?: { readonly match: RegExp; readonly words: string };
}

/** What is known when a process of a service ended although it should not have. */
export interface Death {
  /** Exit code; 128 + n for signal n; undefined: it has not ended yet, its log says that it will. */
  readonly exitCode: number | undefined;
  /** Newest log lines, oldest first. */
  readonly tail: readonly string[];
  /** Those of the other nodes: the cause may be there. */
  readonly elsewhere?: readonly (readonly string[])[];
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
  readonly ambiguous: boolean;
}

export function matches(pattern: Pattern, line: string): boolean {
  if (pattern.also !== undefined && !line.includes(pattern.also)) return false;
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
  const how = exitCode === undefined ? 'it gave up' : `it ended with exit code ${exitCode}`;
  const ending = `${how}${last === undefined ? '' : `; last line: ${last.trim().slice(0, 300)}`}`;
  const known = causeIn([death.tail, ...(death.elsewhere ?? [])], death.patterns);
  if (known !== undefined) return known;
  return { ...unexplained(death, ending), ambiguous: false };
}

/** The first line of the logs, in this order, that tells a cause. */
export function causeIn(
  logs: readonly (readonly string[])[],
  patterns: readonly Pattern[],
): Diagnosis | undefined {
  const causes = patterns.filter((pattern) => pattern.wrapper !== true);
  for (const weak of [false, true]) {
    const now = causes.filter((pattern) => (pattern.weak ?? false) === weak);
    for (const lines of logs) {
      const known = firstMatch(lines, now);
      if (known === undefined) continue;
      const { blame, remedy, ambiguous = false } = known.pattern;
      return { blame, reason: reasonOf(known), remedy, ambiguous };
    }
  }
  return undefined;
}

/** No line of a log tells: what is left is how it ended, and what the machines have done before. */
function unexplained(death: Death, ending: string): Omit<Diagnosis, 'ambiguous'> {
  const { exitCode } = death;
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
