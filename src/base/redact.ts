const secretName = /(key|token|secret|passw(or)?d|credential)s?$/i;

/** A `JSON.stringify` replacer that keeps values of secret-looking names and flags out of files. Numbers are no secrets. */
export function redactSecrets(key: string, value: unknown): unknown {
  if (key === 'argv' && Array.isArray(value)) return redactWords(value.map(String));
  if (typeof value !== 'string' || value === '' || !secretName.test(key)) return value;
  return Number.isNaN(Number(value)) ? '[redacted]' : value;
}

const flagWithValue = /^(--?[A-Za-z][\w.-]*)(?:=(.*))?$/s;

/** Words of a command line without the values of secret-looking flags. */
function redactWords(words: readonly string[]): string[] {
  return words.map((word, index) => {
    const [, own = '', inline] = flagWithValue.exec(word) ?? [];
    if (inline !== undefined) return redactSecrets(own, inline) === inline ? word : `${own}=[redacted]`;
    const [, before = '', given] = flagWithValue.exec(words[index - 1] ?? '') ?? [];
    return given === undefined && !word.startsWith('-') ? String(redactSecrets(before, word)) : word;
  });
}
