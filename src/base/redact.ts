const secretName = /(key|token|secret|passw(or)?d|credential)s?$/i;

/** A `JSON.stringify` replacer that keeps values of secret-looking names out of files. Numbers are no secrets. */
export function redactSecrets(key: string, value: unknown): unknown {
  if (typeof value !== 'string' || value === '' || !secretName.test(key)) return value;
  return Number.isNaN(Number(value)) ? '[redacted]' : value;
}
