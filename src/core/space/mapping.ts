import { ConfigValidationError } from '../../base/errors.ts';
import { enumValues, isConstant, type FactoriesParam, type Field, type ParamValue } from './field.ts';

/**
 * Between the coordinates of a position (in the fields' own bounds, constants left out) and values:
 * the rules of the original, which its users' configuration files rely on.
 */

function toInt(value: number): number {
  if (!Number.isFinite(value)) throw new ConfigValidationError('value', value, 'Not a finite number');
  return Math.trunc(value);
}

/** Edges of k bins of equal width; the last is exactly max. */
function binEdges(field: Field, bins: number): number[] {
  const step = (field.max - field.min) / bins;
  const edges = Array.from({ length: bins + 1 }, (_, j) => j * step + field.min);
  edges[bins] = field.max;
  return edges;
}

function enumAt(field: Field, x: number): ParamValue {
  const values = enumValues(field);
  const last = values.length - 1;
  let index = last;
  if (x <= field.min) index = 0;
  else if (x < field.max) {
    const above = binEdges(field, values.length).findIndex((edge) => edge >= x);
    index = above === -1 ? last : above - 1;
  }
  const value = values[index];
  if (value === undefined)
    throw new ConfigValidationError('dtype_param', values, `${field.name} has no values`);
  return value;
}

/** A constant keeps its value; only what the dtype cannot hold is converted. */
function constantValue(field: Field): ParamValue {
  const { value, dtype } = field;
  if (value === true && dtype !== 'bool') return 1;
  return dtype === 'int' && typeof value === 'number' && Number.isFinite(value) ? Math.trunc(value) : value;
}

type Values = Map<string, ParamValue>;

function target(fields: readonly Field[], field: Field, name: unknown): Field {
  const found = fields.find((candidate) => candidate.name === name);
  if (found === undefined) {
    throw new ConfigValidationError(
      'dtype_param',
      name,
      `${field.name} refers to a field that does not exist`,
    );
  }
  return found;
}

function decodeOne(fields: readonly Field[], index: number, x: number, done: Values): ParamValue {
  const field = fields[index] as Field;
  switch (field.dtype) {
    case 'int':
      return toInt(x);
    case 'bool':
      return x > 0.5;
    case 'enum':
      return enumAt(field, x);
    case 'share': {
      const partner = fields.slice(0, index).find((candidate) => candidate.name === field.dtype_param);
      if (partner === undefined) return field.value;
      return toInt(partner.min + partner.max - Number(done.get(partner.name)));
    }
    case 'float':
    case 'ratio':
    case 'range':
    case 'factories':
    case 'env':
      return x;
  }
}

/** Fields that follow from others, computed after all coordinates are known. */
function derive(fields: readonly Field[], values: Values): void {
  for (const field of fields) {
    const current = values.get(field.name) as ParamValue;
    if (field.dtype === 'ratio') {
      const other = target(fields, field, field.dtype_param);
      values.set(field.name, toInt(Number(current) * Number(values.get(other.name))));
    } else if (field.dtype === 'factories') {
      const param = field.dtype_param as FactoriesParam;
      const divisor = Number(values.get(target(fields, field, param.target_name).name));
      if (divisor !== 0) {
        const quotient = param.product / divisor;
        values.set(field.name, param.dtype === 'int' ? toInt(quotient) : quotient);
      }
    }
    if (field.config_position.includes('maxPrefillBatchSize') && Number(values.get(field.name)) === 0) {
      values.set(field.name, 1);
    }
  }
  dropUnusedBatchTimes(fields, values);
}

/** The two times weigh prefill against decode only while the engine selects batches itself. */
function dropUnusedBatchTimes(fields: readonly Field[], values: Values): void {
  const selector = fields.find((field) => field.config_position.includes('supportSelectBatch'));
  if (selector === undefined || Boolean(values.get(selector.name))) return;
  for (const field of fields) {
    if (/prefillTimeMsPerReq|decodeTimeMsPerReq/.test(field.config_position)) values.set(field.name, 0);
  }
}

/** Values of all fields, in field order, at a position with one coordinate a non-constant field. */
export function mapParamWithValue(position: readonly number[], fields: readonly Field[]): Values {
  const values: Values = new Map();
  let next = 0;
  fields.forEach((field, index) => {
    if (isConstant(field)) {
      values.set(field.name, constantValue(field));
      return;
    }
    const x = position[next++];
    if (x === undefined)
      throw new ConfigValidationError(field.name, position.length, 'The position is too short');
    values.set(field.name, decodeOne(fields, index, x, values));
  });
  derive(fields, values);
  return values;
}

function isConcurrency(field: Field): boolean {
  return field.name === 'CONCURRENCY' || field.name === 'MAXCONCURRENCY';
}

function missingBatchSize(field: Field): ConfigValidationError {
  return new ConfigValidationError(
    field.name,
    field.value,
    'A ratio needs a field MAX_NUM_SEQS, max_batch_size or one at maxBatchSize',
  );
}

/** An enum that knows the value: a number is sorted in, a text appended. The given field is left as it is. */
function withValue(field: Field): Field {
  const values = enumValues(field);
  if (field.dtype !== 'enum' || values.includes(field.value)) return field;
  if (typeof field.value === 'string') return { ...field, dtype_param: [...values, field.value] };
  const numbers = values.map(Number);
  return { ...field, dtype_param: [...numbers, Number(field.value)].sort((a, b) => a - b) };
}

function coordinateOf(field: Field): number {
  if (field.dtype === 'int') return toInt(Number(field.value));
  if (field.dtype === 'bool') return field.value ? 1 : 0;
  if (field.dtype === 'enum') {
    const values = enumValues(field);
    const edges = binEdges(field, values.length);
    const index = values.indexOf(field.value);
    return ((edges[index] as number) + (edges[index + 1] as number)) / 2;
  }
  return Number(field.value);
}

/**
 * The position at which the fields have their present values, and the fields that it belongs to: an enum whose
 * present value is not in its list gets it inserted.
 */
export function fieldToParam(fields: readonly Field[]): { params: number[]; fields: Field[] } {
  const extended = fields.map((field) => (isConstant(field) ? field : withValue(field)));
  const open = extended.filter((field) => !isConstant(field));
  const params = open.map(coordinateOf);
  let batchSize: number | null = null;
  for (const field of open) {
    if (
      field.config_position.includes('maxBatchSize') ||
      ['MAX_NUM_SEQS', 'max_batch_size'].includes(field.name)
    ) {
      batchSize = Number(field.value);
    }
  }
  open.forEach((field, index) => {
    const value = Number(field.value);
    if (field.dtype === 'ratio') {
      for (const other of extended) {
        if (other.name === field.dtype_param && Number(other.value) !== 0)
          params[index] = value / Number(other.value);
      }
    }
    if (!isConcurrency(field)) return;
    if (field.dtype === 'ratio') {
      if (value === 0) params[index] = 1;
      else if (batchSize === null) throw missingBatchSize(field);
      else params[index] = batchSize > 0 ? value / batchSize : value;
    } else params[index] = value;
  });
  return { params, fields: extended };
}

function numberIn(field: Field, wanted: ParamValue): number {
  const x = Number(wanted);
  if (field.dtype !== 'int') return x;
  if (typeof wanted === 'string' && !Number.isInteger(x)) {
    throw new ConfigValidationError(field.name, wanted, 'Not an integer');
  }
  return Number.isNaN(x) ? x : toInt(x);
}

/** The legal value next to the wanted one: the next larger of an enum, else clamped into the bounds. */
export function findAvailableValue(field: Field, wanted: ParamValue): number {
  if (field.dtype === 'enum') {
    const values = enumValues(field).map(Number);
    const x = Number(wanted);
    if (Number.isNaN(x)) return values[0] as number;
    return values.find((value) => value >= x) ?? (values.at(-1) as number);
  }
  const value = numberIn(field, wanted);
  if (value >= field.min && value <= field.max) return value;
  const bound = value < field.min ? field.min : field.max;
  return field.dtype === 'int' ? Math.trunc(bound) : bound;
}
