import { z } from 'zod';
import type { JournalEntry } from '../parallel/records.ts';

/** What a line of a journal must have for the rest of the program to go by it; more is kept as it is. */

const id = z.int().min(0);
const group = z.int();
const at = z.string();
const values = z.record(z.string(), z.union([z.number(), z.boolean(), z.string(), z.null()]));
const measured = z.number().nullable();
const groups = z.array(z.looseObject({ group_id: group, hosts: z.array(z.string()) }));

const error = z.looseObject({
  class: z.string(),
  message: z.string(),
  remedy: z.string(),
  blame: z.enum(['params', 'load', 'node', 'benchmark', 'operator', 'program']),
  details: z.record(z.string(), z.unknown()),
});

const performance = z.looseObject({
  generate_speed: measured,
  time_to_first_token: measured,
  time_per_output_token: measured,
  success_rate: measured,
  throughput: measured,
});

const verdict = z.discriminatedUnion('kind', [
  z.looseObject({
    kind: z.literal('scored'),
    fitness: z.number(),
    terms: z.record(z.string(), z.unknown()),
    parts: z.array(measured).optional(),
    performance,
    percentiles: z.record(z.string(), z.record(z.string(), z.number())),
    violations: z.array(z.looseObject({ slo: z.string() })),
    flags: z.array(z.string()),
  }),
  z.looseObject({ kind: z.literal('infeasible'), error }),
  z.looseObject({ kind: z.literal('failed'), error }),
]);

const suggestion = z.looseObject({
  trialId: id,
  particle: z.int(),
  generation: z.int(),
  position: z.array(z.number()),
  params: values,
  origin: z.string(),
  confirms: id.optional(),
  refines: id.optional(),
});

const record = z.looseObject({
  trial_id: id,
  group_id: group.nullable(),
  params: values,
  verdict,
  failed_attempts: z.array(z.looseObject({ group_id: group, error })),
  reused_from: id.nullable(),
  confirms: id.nullable(),
  refines: id.optional(),
  started_at: at,
  finished_at: at,
  start_s: z.number(),
  benchmark_s: z.number(),
  duration_s: z.number(),
  num_prompts: measured,
});

const entry = z.discriminatedUnion('type', [
  z.looseObject({
    type: z.literal('run-started'),
    schema: z.literal(1),
    at,
    run_id: z.string(),
    seed: z.number(),
    engine: z.string(),
    benchmark: z.string(),
    version: z.string(),
    slos: z.looseObject({}),
    groups,
  }),
  z.looseObject({ type: z.literal('resumed'), at, groups }),
  z.looseObject({ type: z.literal('asked'), at, suggestion }),
  z.looseObject({ type: z.literal('started'), at, trial_id: id, group_id: group }),
  z.looseObject({
    type: z.literal('attempt-failed'),
    at,
    trial_id: id,
    group_id: group,
    busy_s: z.number(),
    error,
  }),
  z.looseObject({ type: z.literal('told'), at, record, backup: z.string().nullable().optional() }),
  z.looseObject({ type: z.literal('recovered'), at, record }),
  z.looseObject({
    type: z.literal('group-measured'),
    at,
    group_id: group,
    hosts: z.array(z.string()),
    performance: performance.nullable(),
    starts: z.int(),
    busy_s: z.number(),
  }),
  z.looseObject({
    type: z.literal('scaled'),
    at,
    added: z.array(z.looseObject({ group_id: group, hosts: z.array(z.looseObject({ host: z.string() })) })),
    left: z.array(group),
    groups,
  }),
  z.looseObject({ type: z.literal('groups-compared'), at, reference: group }),
  z.looseObject({
    type: z.literal('circuit'),
    at,
    group_id: group,
    state: z.enum(['closed', 'open', 'half_open']),
    cause: z.string().nullable(),
  }),
  z.looseObject({
    type: z.literal('run-ended'),
    at,
    status: z.enum(['completed', 'budget', 'no_feasible', 'interrupted', 'failed']),
    error: error.nullable(),
  }),
]);

/** @returns the entry, or why the line is none */
export function parseEntry(line: string): JournalEntry | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error_) {
    return (error_ as Error).message;
  }
  const parsed = entry.safeParse(value);
  if (parsed.success) return parsed.data as unknown as JournalEntry;
  const [first] = parsed.error.issues.map(
    ({ path, message }) => `${path.map(String).join('.') || 'the line'}: ${message}`,
  );
  return first as string;
}
