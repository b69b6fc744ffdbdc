import fc from 'fast-check';
import { expect, test } from 'vitest';
import { bounds, type Observed } from '../../src/core/fitness/bounds.ts';
import { cost, type FitnessSettings } from '../../src/core/fitness/fitness.ts';
import { violations } from '../../src/core/fitness/slo.ts';

const slos: FitnessSettings = {
  ...{ ttft_penalty: 2, tpot_penalty: 3, success_rate_penalty: 5 },
  ...{ ttft_slo: 0.5, tpot_slo: 0.05, success_rate_slo: 0.95, generate_speed_target: 5000 },
};

const statistic = fc.constantFrom('mean' as const, 'median' as const, 'p90' as const, 'p99' as const);
const request = fc.record({
  due: fc.nat(5000),
  ttft: fc.integer({ min: 1, max: 3000 }),
  tpot: fc.integer({ min: 1, max: 200 }),
  tokens: fc.integer({ min: 2, max: 50 }),
});
interface Request {
  due: number;
  ttft: number;
  tpot: number;
  tokens: number;
}

const endOf = ({ due, ttft, tpot, tokens }: Request): number => due + ttft + tpot * (tokens - 1);

function seenAt(requests: readonly Request[], now: number): Observed {
  const done = requests.filter((one) => endOf(one) <= now);
  return {
    elapsedS: now / 1000,
    requests: requests.length,
    maxOutputTokens: requests.reduce((sum, { tokens }) => sum + tokens, 0),
    ttftsMs: requests.filter(({ due }) => due <= now).map(({ due, ttft }) => Math.min(ttft, now - due)),
    tpotsMs: done.map(({ tpot }) => tpot),
    tokens: done.reduce((sum, { tokens }) => sum + tokens, 0),
    failed: 0,
  };
}

test('what a benchmark can come to at best never is worse than what it comes to', () => {
  const scored = fc.record({ time_to_first_token: statistic, time_per_output_token: statistic });
  fc.assert(
    fc.property(
      fc.array(request, { minLength: 1, maxLength: 40 }),
      fc.double({ min: 0.01, max: 1, noNaN: true }),
      scored,
      (requests, share, by) => {
        const end = Math.max(...requests.map(endOf));
        const last = bounds(seenAt(requests, end), by);
        const now = bounds(seenAt(requests, share * end), by);
        expect(cost(now, slos).sum).toBeLessThanOrEqual(cost(last, slos).sum + 1e-9);
        const missed = violations(last, slos).map(({ slo }) => slo);
        for (const { slo } of violations(now, slos)) expect(missed).toContain(slo);
      },
    ),
  );
});
