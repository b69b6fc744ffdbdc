import { createRng } from '../../src/base/rng.ts';
import { groupId, trialId } from '../../src/base/units.ts';
import type { JournalEntry, TrialRecord, Verdict } from '../../src/parallel/records.ts';

export interface MadeUp {
  readonly trials: number;
  readonly groups?: number;
  readonly seed?: number;
  /** Times the speed of everything. */
  readonly speed?: number;
  /** Relative scatter of one measurement. */
  readonly noise?: number;
  /** Confirmations of the baseline and of the best. */
  readonly confirmations?: number;
  readonly host?: string;
  readonly error?: string;
  readonly runId?: string;
}

const slos = {
  ...{ ttft_penalty: 3, tpot_penalty: 3, success_rate_penalty: 5 },
  ...{ ttft_slo: 1, tpot_slo: 0.05, success_rate_slo: 1, generate_speed_target: 5000 },
};

const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString();

/** The journal of a run that never was: what a report must cope with. The best is at a batch of 96. */
export function madeUpJournal({
  trials,
  groups = 4,
  seed = 1,
  speed = 1,
  noise = 0.02,
  confirmations = 3,
  host = 'node',
  error = 'out of memory',
  runId = 'made-up',
}: MadeUp): JournalEntry[] {
  const rng = createRng(seed);
  const entries: JournalEntry[] = [
    {
      ...{
        type: 'run-started',
        schema: 1,
        at: at(0),
        run_id: runId,
        seed,
        engine: 'vllm',
        benchmark: 'builtin',
      },
      ...{ version: '0.0.0', setup: 'aaaa', slos },
      groups: Array.from({ length: groups }, (_, id) => ({
        ...{ group_id: groupId(id), hosts: [`${host}${2 * id}`, `${host}${2 * id + 1}`], devices: 16 },
      })),
    },
  ];
  const busyUntil = Array.from({ length: groups }, () => 0);
  const verdictOf = (batch: number, utilization: number): Verdict => {
    if (utilization > 0.96) {
      const details = { log: error };
      return {
        kind: 'infeasible',
        error: { class: 'OutOfMemoryError', message: error, remedy: error, blame: 'params', details },
      };
    }
    const scatter = 1 + noise * (rng.next() + rng.next() - 1);
    const tokens =
      speed * scatter * (2000 - 0.1 * (batch - 96) ** 2 * (batch > 96 ? 0.2 : 1) + 500 * utilization);
    const ttft = 0.2 + batch / 400;
    const tpot = 0.01 + batch / 6000;
    const performance = {
      ...{ generate_speed: Math.max(10, tokens), time_to_first_token: ttft, time_per_output_token: tpot },
      ...{ success_rate: 1, throughput: tokens / 100 },
    };
    const violations = ttft <= 1 ? [] : [{ slo: 'time_to_first_token' as const, limit: 1, measured: ttft }];
    return {
      ...{ kind: 'scored', fitness: 5000 / Math.max(10, tokens), performance, violations, flags: [] },
      terms: { generate_speed: 1, time_to_first_token: 0, time_per_output_token: 0, success_rate: 0 },
      percentiles: { ttft_ms: { mean: ttft * 1000, p99: ttft * 2000 }, tpot_ms: { mean: tpot * 1000 } },
    };
  };
  const told: TrialRecord[] = [];
  const add = (params: TrialRecord['params'], confirms: number | null): void => {
    const id = told.length;
    const group = busyUntil.indexOf(Math.min(...busyUntil));
    const began = busyUntil[group]!;
    const verdict = verdictOf(Number(params['MAX_NUM_SEQS']), Number(params['GPU_MEMORY_UTILIZATION']));
    const [start_s, benchmark_s] = [20 + 20 * rng.next(), verdict.kind === 'scored' ? 60 : 0];
    const ended = began + start_s + benchmark_s;
    busyUntil[group] = ended + 1;
    const record: TrialRecord = {
      ...{ trial_id: trialId(id), group_id: groupId(group), params, verdict, failed_attempts: [] },
      ...{ reused_from: null, confirms: confirms === null ? null : trialId(confirms), starts: 1 },
      ...{ started_at: at(began), finished_at: at(ended), start_s, benchmark_s, num_prompts: 200 },
      duration_s: start_s + benchmark_s,
    };
    told.push(record);
    entries.push({ type: 'started', at: at(began), trial_id: trialId(id), group_id: groupId(group) });
    entries.push({ type: 'told', at: at(ended), record });
  };
  for (let i = 0; i < trials; i++)
    add(
      {
        MAX_NUM_SEQS: i === 0 ? 32 : 8 + Math.floor(rng.next() * 248),
        GPU_MEMORY_UTILIZATION: i === 0 ? 0.9 : Number((0.7 + 0.3 * rng.next()).toFixed(3)),
        SCHEDULER: i === 0 ? 'fcfs' : rng.next() < 0.5 ? 'fcfs' : 'priority',
      },
      null,
    );
  const speedOf = ({ verdict }: TrialRecord): number =>
    verdict.kind === 'scored' && verdict.violations.length === 0 ? verdict.performance.generate_speed! : 0;
  const best = [...told].sort((a, b) => speedOf(b) - speedOf(a))[0];
  for (let i = 0; i < confirmations; i++)
    for (const record of [told[0], best]) if (record) add(record.params, record.trial_id);
  entries.push({ type: 'run-ended', at: at(Math.max(...busyUntil)), status: 'completed', error: null });
  return entries;
}
