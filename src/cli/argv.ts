/** `-lb` → `--load-breakpoint`, and underscores in long flags → dashes: the original's spellings. */
export function normalizeArgv(argv: readonly string[]): string[] {
  const end = argv.indexOf('--');
  return argv.map((word, index) => {
    if (end !== -1 && index >= end) return word;
    if (word === '-lb') return '--load-breakpoint';
    const long = /^(--[^=]+)(=[\s\S]*)?$/.exec(word);
    return long === null ? word : `${(long[1] ?? '').replaceAll('_', '-')}${long[2] ?? ''}`;
  });
}
