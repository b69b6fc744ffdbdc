import { ConfigValidationError } from '../../base/errors.ts';
import { derive, toInt, type DecodeContext, type Values } from './derived.ts';
import { enumValues, isConstant, type Field, type ParamValue } from './field.ts';

/**
 * Between the coordinates of a position (in the fields' own bounds, constants left out) and values:
 * the rules of the original, which its users' configuration files rely on.
 */

/** Where the bin j of `bins` of equal width begins; the last ends exactly at max. */
function binEdge({ min, max }: Field, bins: number, j: number): number {
  return j === bins ? max : j * ((max - min) / bins) + min;
}

/** A list of texts: the nearest of equidistant points, not of bins. */
function textAt(field: Field, values: readonly ParamValue[], x: number): ParamValue {
  const last = values.length - 1;
  const u = last === 0 ? 0 : (x - field.min) / (field.max - field.min);
  return values[Math.min(last, Math.max(0, Math.trunc(u * last + 0.5)))] as ParamValue;
}

function enumAt(field: Field, x: number): ParamValue {
  const values = enumValues(field);
  if (values.some((value) => typeof value === 'string')) return textAt(field, values, x);
  const last = values.length - 1;
  let index = x <= field.min ? 0 : last;
  if (x > field.min && x < field.max) {
    index = 0;
    while (index < last && binEdge(field, values.length, index + 1) < x) index++;
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

function decodeOne(field: Field, x: number): ParamValue {
  switch (field.dtype) {
    case 'int':
      return toInt(x);
    case 'bool':
      return x > 0.5;
    case 'enum':
      return enumAt(field, x);
    case 'share': // derived; where it refers to nothing it stays
    case 'str': // a text is not searched
      return field.value;
    case 'float':
    case 'ratio':
    case 'range':
    case 'factories':
    case 'env':
    case 'times':
    case 'ternary_factories':
    case 'ternary_times':
      return x;
  }
}

/** Values of all fields, in field order, at a position with one coordinate a non-constant field. */
export function mapParamWithValue(
  position: readonly number[],
  fields: readonly Field[],
  context?: DecodeContext,
): Values {
  const values: Values = new Map();
  let next = 0;
  fields.forEach((field) => {
    if (isConstant(field)) {
      values.set(field.name, constantValue(field));
      return;
    }
    const x = position[next++];
    if (x === undefined)
      throw new ConfigValidationError(field.name, position.length, 'The position is too short');
    values.set(field.name, decodeOne(field, x));
  });
  derive(fields, values, context);
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
    const index = values.indexOf(field.value);
    return (binEdge(field, values.length, index) + binEdge(field, values.length, index + 1)) / 2;
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
