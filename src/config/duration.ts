const factors: Readonly<Record<string, number>> = { s: 1, min: 60, m: 60, h: 3600, d: 86_400 };

/** "2h", "90min", "1h30m", "45 s" or a number of seconds, in seconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const plain = text.trim().toLowerCase();
  if (plain !== '' && Number(plain) > 0) return Number(plain);
  const parts = [...plain.matchAll(/(\d+(?:\.\d+)?)\s*(min|[smhd])\s*/g)];
  const whole = parts.map(([part]) => part).join('');
  const seconds = parts.reduce(
    (sum, [, value, unit]) => sum + Number(value) * (factors[unit ?? ''] ?? NaN),
    0,
  );
  return whole === plain && seconds > 0 ? seconds : undefined;
}
