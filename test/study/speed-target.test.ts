import { expect, test } from 'vitest';
import { trialId } from '../../src/base/units.ts';
import { never } from '../../src/base/cancellation.ts';
import { SpeedTarget } from '../../src/parallel/speed-target.ts';
import type { TrialRecord } from '../../src/parallel/records.ts';

const settings = {
  ...{ ttft_penalty: 1, tpot_penalty: 0, success_rate_penalty: 5, ttft_slo: 1, tpot_slo: 0.05 },
  ...{ success_rate_slo: 1, generate_speed_target: 5000 },
};
const scored = (generate_speed: number): object => ({ kind: 'scored', performance: { generate_speed } });

test('the target follows from the present configuration at its own load, not at the load that was found', async () => {
  const target = new SpeedTarget(settings, [], false);
  const waiting = target.settings(never);
  const record = {
    trial_id: trialId(0),
    params: {},
    verdict: scored(900),
    as_is: { params: {}, verdict: scored(300) },
  };
  target.told(record as unknown as TrialRecord);
  expect((await waiting).generate_speed_target).toBe(3000);
});
