import { ConfigurationError } from '../base/errors.ts';
import type { TrialId } from '../base/units.ts';
import type { Suggestion } from '../core/pso/optimizer.ts';
import type { ServingParams } from '../core/space/field.ts';
import type { Measurement } from './measuring.ts';
import { errorRecord } from './error-record.ts';
import type { TrialRecord } from './records.ts';

/** How a trial ended, whoever asked for it. */
export type Settled = Pick<
  TrialRecord,
  'verdict' | 'group_id' | 'start_s' | 'benchmark_s' | 'num_prompts' | 'reused_from'
> &
  // Where measuring chose a load of its own, and what it used.
  Partial<Pick<TrialRecord, 'params' | 'curve' | 'as_is' | 'fastest' | 'starts'>>;

export const notMeasured = { start_s: 0, benchmark_s: 0, num_prompts: null, reused_from: null };

export function measuredOf(
  { verdict, numPrompts, params, curve, asIs, fastest }: Measurement,
  asked: ServingParams,
): Pick<Settled, 'verdict' | 'num_prompts' | 'reused_from' | 'params' | 'curve' | 'as_is' | 'fastest'> {
  return {
    ...{ verdict, num_prompts: numPrompts, reused_from: null, params: params ?? asked },
    ...(curve === undefined ? {} : { curve }),
    ...(asIs === undefined ? {} : { as_is: asIs }),
    ...(fastest === undefined ? {} : { fastest }),
  };
}

/** It costs no accelerator time. */
export function refused(why: string): Settled {
  const error = new ConfigurationError(
    why,
    {},
    {
      blame: 'params',
      remedy: 'Nothing is wrong: the search asks elsewhere.',
    },
  );
  return { ...notMeasured, verdict: { kind: 'infeasible', error: errorRecord(error) }, group_id: null };
}

/** An equal configuration was measured before. */
export function reused(earlier: TrialRecord): Settled {
  const { verdict, group_id, num_prompts, params } = earlier;
  const from: TrialId = earlier.reused_from ?? earlier.trial_id;
  return { verdict, params, group_id, num_prompts, start_s: 0, benchmark_s: 0, reused_from: from };
}

/** What a trial is for, where it is not for the search. */
export function originOf({ confirms, refines }: Suggestion): Pick<TrialRecord, 'confirms' | 'refines'> {
  return { confirms: confirms ?? null, ...(refines === undefined ? {} : { refines }) };
}
