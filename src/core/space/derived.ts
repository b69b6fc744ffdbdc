import { ConfigValidationError } from '../../base/errors.ts';
import { enumValues, type FactoriesParam, type Field, type ParamValue, type TernaryParam } from './field.ts';

/** Values of fields by name, while they are being made. */
export type Values = Map<string, ParamValue>;

/** Which particle asks, and for which time: `balanced` priorities alternate by it. */
export interface DecodeContext {
  readonly particle: number;
  readonly particles: number;
  readonly generation: number;
}

export function toInt(value: number): number {
  if (!Number.isFinite(value)) throw new ConfigValidationError('value', value, 'Not a finite number');
  return Math.trunc(value);
}

const as = (dtype: string | undefined, value: number): number => (dtype === 'int' ? toInt(value) : value);

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

/** The values that a field may take, next to its present one first; none where they cannot be listed. */
function candidates(field: Field, present: number): number[] {
  const span = field.max - field.min;
  const all =
    field.dtype === 'enum'
      ? enumValues(field).filter((value) => typeof value === 'number')
      : field.dtype === 'int' && span >= 0 && span <= 256
        ? Array.from({ length: Math.trunc(span) + 1 }, (_, i) => Math.trunc(field.min) + i)
        : [];
  return all.sort((a, b) => Math.abs(a - present) - Math.abs(b - present));
}

interface Limits {
  readonly param: TernaryParam;
  readonly min: number;
  readonly max: number;
}

function limitsOf(param: TernaryParam): Limits {
  const min = param.min_value ?? (param.dtype === 'int' ? 1 : -Infinity);
  return { param, min, max: param.max_value ?? Infinity };
}

function fits({ param, min, max }: Limits, divisor: number): boolean {
  if (divisor === 0 || (param.dtype === 'int' && param.product % divisor !== 0)) return false;
  const value = as(param.dtype, param.product / divisor);
  return value >= min && value <= max;
}

/** Which source stays as it is if one must give way: the first. */
function priorityOf(param: TernaryParam, context: DecodeContext | undefined): readonly string[] {
  const { target_names: names, priority } = param;
  const given = priority?.length === 2 && priority.every((name) => names.includes(name)) ? priority : names;
  if ((param.priority_policy ?? 'fixed') !== 'balanced' || context === undefined) return given;
  const secondHalf = context.particle >= context.particles / 2;
  const reversed = secondHalf !== (context.generation % 2 === 1);
  return reversed ? [...given].reverse() : given;
}

/** The nearest values of both sources whose product fits. @returns whether there are any; they are in `values` then */
function repair(
  fields: readonly Field[],
  limits: Limits,
  values: Values,
  context: DecodeContext | undefined,
): boolean {
  const [keep, adjust] = priorityOf(limits.param, context).map((name) =>
    fields.find((field) => field.name === name),
  );
  if (keep === undefined || adjust === undefined) return false;
  const [kept, adjusted] = [Number(values.get(keep.name)), Number(values.get(adjust.name))];
  for (const a of [kept, ...candidates(keep, kept)]) {
    const b = candidates(adjust, adjusted).find((value) => fits(limits, a * value));
    if (b === undefined) continue;
    values.set(keep.name, a);
    values.set(adjust.name, b);
    return true;
  }
  return false;
}

function productOf(fields: readonly Field[], names: readonly string[], values: Values): number | undefined {
  const known = names.every((name) => fields.some((field) => field.name === name));
  return known ? names.reduce((product, name) => product * Number(values.get(name)), 1) : undefined;
}

function ternaryFactories(
  fields: readonly Field[],
  field: Field,
  values: Values,
  context: DecodeContext | undefined,
): ParamValue | undefined {
  const param = field.dtype_param as TernaryParam;
  const limits = limitsOf(param);
  const divisor = productOf(fields, param.target_names, values);
  if (divisor === undefined || divisor === 0) return undefined;
  if (fits(limits, divisor)) return as(param.dtype, param.product / divisor);
  if (repair(fields, limits, values, context)) {
    const repaired = productOf(fields, param.target_names, values) as number;
    return as(param.dtype, param.product / repaired);
  }
  const value = as(param.dtype, param.product / divisor);
  if (value < limits.min) return as(param.dtype, limits.min);
  if (value > limits.max) return as(param.dtype, limits.max);
  // Left as it is for `indivisible`: a position always decodes, but need not be one that can be started.
  return value;
}

/** Why a configuration cannot be: a product that its two factors do not divide, and no others were near. */
export function indivisible(
  fields: readonly Field[],
  params: Readonly<Record<string, ParamValue>>,
): string | undefined {
  const dividing = fields.filter(({ dtype }) => dtype === 'ternary_factories');
  if (dividing.length === 0) return undefined;
  const values = new Map(Object.entries(params));
  for (const field of dividing) {
    const { product, target_names: names, dtype } = field.dtype_param as TernaryParam;
    const divisor = productOf(fields, names, values);
    if (dtype !== 'int' || divisor === undefined || divisor === 0 || product % divisor === 0) continue;
    const clamped = Number(params[field.name]) !== toInt(product / divisor);
    if (!clamped) return `${field.name}: ${product} is not divisible by ${names.join(' * ')} = ${divisor}`;
  }
  return undefined;
}

/** One rule a derived dtype; undefined leaves the value as it is. */
function derived(
  fields: readonly Field[],
  field: Field,
  values: Values,
  context: DecodeContext | undefined,
): ParamValue | undefined {
  switch (field.dtype) {
    case 'ratio': {
      const other = target(fields, field, field.dtype_param);
      return toInt(Number(values.get(field.name)) * Number(values.get(other.name)));
    }
    case 'factories':
    case 'times': {
      const param = field.dtype_param as FactoriesParam;
      const other = Number(values.get(target(fields, field, param.target_name).name));
      if (field.dtype === 'times') return as(param.dtype, param.product * other);
      return other === 0 ? undefined : as(param.dtype, param.product / other);
    }
    case 'share': {
      const other = fields.find((candidate) => candidate.name === field.dtype_param);
      return other && toInt(other.min + other.max - Number(values.get(other.name)));
    }
    case 'ternary_factories':
      return ternaryFactories(fields, field, values, context);
    case 'ternary_times': {
      const param = field.dtype_param as TernaryParam;
      const product = productOf(fields, param.target_names, values);
      return product === undefined ? undefined : as(param.dtype, param.product * product);
    }
    default:
      return undefined;
  }
}

/** The two times weigh prefill against decode only while the engine selects batches itself. */
function dropUnusedBatchTimes(fields: readonly Field[], values: Values): void {
  const selector = fields.find((field) => field.config_position.includes('supportSelectBatch'));
  if (selector === undefined || Boolean(values.get(selector.name))) return;
  for (const field of fields) {
    if (/prefillTimeMsPerReq|decodeTimeMsPerReq/.test(field.config_position)) values.set(field.name, 0);
  }
}

/** Fields that follow from others, computed in field order after all coordinates are known. */
export function derive(fields: readonly Field[], values: Values, context?: DecodeContext): void {
  for (const field of fields) {
    const value = derived(fields, field, values, context);
    if (value !== undefined) values.set(field.name, value);
    if (field.config_position.includes('maxPrefillBatchSize') && Number(values.get(field.name)) === 0) {
      values.set(field.name, 1);
    }
  }
  dropUnusedBatchTimes(fields, values);
}
