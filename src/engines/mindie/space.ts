import type { GroupShape } from '../../config/parallel-config.ts';
import type { JsonObject } from '../../core/space/config-document.ts';
import type { ConstraintRule } from '../../core/space/constraints.ts';
import type { Field, ParamValue } from '../../core/space/field.ts';
import { field, loadFields } from '../fields.ts';
import type { MindieConfig } from './config.ts';

const schedule = (key: string): string => `BackendConfig.ScheduleConfig.${key}`;
const model = (key: string): string => `BackendConfig.ModelDeployConfig.ModelConfig.0.${key}`;

const at = (position: string, one: Field): Field => ({ ...one, config_position: position });

const ratioOf = (name: string, position: string, min: number, max: number, value = 0): Field => ({
  ...field.float(name, min, max, value),
  config_position: position,
  dtype: 'ratio',
  dtype_param: 'max_batch_size',
});

const quotientOf = (name: string, position: string, target: string, product: number): Field => ({
  ...field.int(name, 0, 0, 0),
  config_position: position,
  dtype: 'factories',
  dtype_param: { target_name: target, product, dtype: 'int' },
});

/** The fourteen that the original tunes by default; the devices of the group in place of its sixteen. */
function defaultFields({ nodes, devicesPerNode }: GroupShape): Field[] {
  const devices = nodes * devicesPerNode;
  const sizes = [1, 2, 4, 8, 16, 32].filter((size) => devices % size === 0);
  return [
    at(schedule('maxBatchSize'), field.int('max_batch_size', 25, 300, 200)),
    ratioOf('max_prefill_batch_size', schedule('maxPrefillBatchSize'), 0.1, 0.7, 50),
    at(schedule('prefillTimeMsPerReq'), field.int('prefill_time_ms_per_req', 0, 1000, 150)),
    at(schedule('decodeTimeMsPerReq'), field.int('decode_time_ms_per_req', 0, 1000, 50)),
    at(schedule('supportSelectBatch'), field.bool('support_select_batch', false)),
    at(schedule('maxPrefillTokens'), field.log('max_prefill_token', 4096, 409_600, 8192)),
    at(
      schedule('maxQueueDelayMicroseconds'),
      field.log('max_queue_delay_microseconds', 500, 1_000_000, 5000),
    ),
    at(schedule('prefillPolicyType'), field.oneOf('prefill_policy_type', [0, 1, 3], 0)),
    at(schedule('decodePolicyType'), field.oneOf('decode_policy_type', [0, 1, 3], 0)),
    ratioOf('max_preempt_count', schedule('maxPreemptCount'), 0, 1),
    at(model('tp'), field.oneOf('tp', sizes, devices)),
    quotientOf('dp', model('dp'), 'tp', devices),
    at(model('moe_tp'), field.oneOf('moe_tp', sizes, 1)),
    quotientOf('moe_ep', model('moe_ep'), 'moe_tp', devices),
  ];
}

function standardFields(): Field[] {
  return [
    at(schedule('maxBatchSize'), field.log('max_batch_size', 8, 512, 200)),
    ratioOf('max_prefill_batch_size', schedule('maxPrefillBatchSize'), 0.05, 1, 50),
    at(schedule('maxPrefillTokens'), field.log('max_prefill_token', 2048, 65_536, 8192)),
    at(schedule('supportSelectBatch'), field.bool('support_select_batch', false)),
    at(schedule('maxQueueDelayMicroseconds'), field.log('max_queue_delay_microseconds', 500, 100_000, 5000)),
  ];
}

export function mindieFields(
  { target_field: own, fields }: MindieConfig,
  shape: GroupShape,
): readonly Field[] {
  if (own.length > 0) return own;
  return [...(fields === 'standard' ? standardFields() : defaultFields(shape)), ...loadFields];
}

export const mindieConstraints: readonly ConstraintRule[] = [
  {
    expr: 'max_prefill_batch_size >= 1 && max_prefill_batch_size <= max_batch_size',
    reason: 'maxPrefillBatchSize must be 1 … maxBatchSize',
  },
  { expr: 'max_preempt_count <= max_batch_size', reason: 'maxPreemptCount must not be above maxBatchSize' },
];

/** What stands at a dotted position. */
export function valueAt(document: JsonObject, position: string): ParamValue | undefined {
  let value: unknown = document;
  for (const key of position.split('.')) value = (value as Record<string, unknown> | null | undefined)?.[key];
  return typeof value === 'number' || typeof value === 'boolean' || typeof value === 'string'
    ? value
    : undefined;
}

/** -1 leaves tensor parallelism to the world size. */
function laidOut(
  document: JsonObject,
  { name }: Field,
  value: ParamValue | undefined,
): ParamValue | undefined {
  return name === 'tp' && value === -1 ? (valueAt(document, model('worldSize')) ?? value) : value;
}

/**
 * The fields with what the service runs today as their present values. Those of model layouts that its configuration
 * does not mention are left out: the model has nothing there to set.
 */
export function withPresentValues(fields: readonly Field[], document: JsonObject): Field[] {
  const present = fields.flatMap((one): Field[] => {
    if (!one.config_position.startsWith('BackendConfig')) return [one];
    const value = laidOut(document, one, valueAt(document, one.config_position));
    if (value !== undefined) return [{ ...one, value: one.dtype === 'bool' ? value === true : value }];
    return one.config_position.includes('ModelConfig') ? [] : [one];
  });
  const has = (name: unknown): boolean => present.some((one) => one.name === name);
  const targetOf = ({ dtype_param: param }: Field): unknown =>
    (param as { target_name?: unknown } | null)?.target_name;
  return present.filter((one) => one.dtype !== 'factories' || has(targetOf(one)));
}
