import { ConfigPathError, ConfigValidationError } from '../../base/errors.ts';

export type ParamValue = number | boolean | string;
/** One value a field, by field name; what a configuration of the service is. */
export type ServingParams = Readonly<Record<string, ParamValue>>;

export const dtypes = [
  'bool',
  'enum',
  'env',
  'factories',
  'float',
  'int',
  'range',
  'ratio',
  'share',
  'str',
  'ternary_factories',
  'ternary_times',
  'times',
] as const;
export type Dtype = (typeof dtypes)[number];

/** Dtypes whose value follows from other fields; a coordinate of their own, if any, is not looked at. */
export const derivedDtypes: readonly Dtype[] = [
  'factories',
  'ratio',
  'share',
  'ternary_factories',
  'ternary_times',
  'times',
];

/** `factories`: value = product / the value of the field `target_name`; `times`: product * it. */
export interface FactoriesParam {
  readonly target_name: string;
  readonly product: number;
  readonly dtype: string;
}

/** `ternary_factories`: value = product / (a * b); `ternary_times`: product * a * b. */
export interface TernaryParam {
  readonly target_names: readonly string[];
  readonly product: number;
  readonly dtype?: string;
  readonly min_value?: number;
  readonly max_value?: number;
  /** `balanced`: which of the two gives way alternates over the swarm; else the second of `priority`. */
  readonly priority_policy?: string;
  readonly priority?: readonly string[];
}

/** One tunable parameter, with the key names of the configuration file. */
export interface Field {
  readonly name: string;
  /** `env`, or the dotted path into the configuration document of the service. */
  readonly config_position: string;
  readonly min: number;
  readonly max: number;
  readonly dtype: Dtype;
  /** The present value: what trial 0 runs with. */
  readonly value: ParamValue;
  /** enum: the values; range: the step; ratio and share: the name of another field; factories: see there. */
  readonly dtype_param: unknown;
  readonly constant: number | null;
  /** How the search spreads over min … max; `log` for budgets and counts that span powers of two, `sqrt` between. */
  readonly scale?: 'linear' | 'log' | 'sqrt' | undefined;
}

const positionPattern = /^(env|[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)+)$/;

/** `math.isclose` of the original's language. */
export function isClose(a: number, b: number, relative = 1e-9): boolean {
  if (a === b) return true;
  if (!Number.isFinite(a) || !Number.isFinite(b)) return false;
  return Math.abs(a - b) <= relative * Math.max(Math.abs(a), Math.abs(b));
}

/** A constant field has no coordinate in the search space. */
export function isConstant(field: Field): boolean {
  return field.constant !== null || isClose(field.min, field.max);
}

export function enumValues(field: Field): readonly ParamValue[] {
  return Array.isArray(field.dtype_param) ? (field.dtype_param as ParamValue[]) : [];
}

/** The least and the largest value; of an enum those of its list, whatever its coordinate spans. */
export function valueBounds(field: Field): { readonly min: number; readonly max: number } {
  const listed = field.dtype === 'enum' ? enumValues(field).map(Number).filter(Number.isFinite) : [];
  return listed.length === 0 ? field : { min: Math.min(...listed), max: Math.max(...listed) };
}

function checkBounds({ min, max, scale, dtype }: Field): void {
  if (min > max) {
    throw new ConfigValidationError(
      'min/max',
      `min=${min}, max=${max}`,
      `min (${min}) must be less than or equal to max (${max})`,
    );
  }
  if ((scale === 'log' || scale === 'sqrt') && dtype !== 'int' && dtype !== 'float') {
    throw new ConfigValidationError('scale', scale, `Only int and float have a scale, this is ${dtype}`);
  }
  if (scale === 'sqrt' && min < 0) {
    throw new ConfigValidationError('scale', 'sqrt', `min (${min}) must be 0 or above on a sqrt scale`);
  }
  if (scale === 'log' && min <= 0) {
    throw new ConfigValidationError('scale', 'log', `min (${min}) must be above 0 on a log scale`);
  }
}

/**
 * Checks what no schema can see and derives the constant, as the original does when it loads a field.
 * @throws ConfigPathError, ConfigValidationError
 */
export function validateField(field: Field): Field {
  if (field.config_position === '') {
    throw new ConfigPathError('', 'Config position cannot be empty');
  }
  if (!positionPattern.test(field.config_position)) {
    throw new ConfigPathError(
      field.config_position,
      `Invalid format. Expected 'env' or dotted path (e.g., 'Section.Key'), got '${field.config_position}'`,
    );
  }
  if (!(dtypes as readonly string[]).includes(field.dtype)) {
    throw new ConfigValidationError('dtype', field.dtype, `Must be one of: ${dtypes.join(', ')}`);
  }
  checkBounds(field);
  if (field.constant !== null && field.constant !== 0 && !isClose(field.min, field.max)) {
    return { ...field, min: field.constant, max: field.constant };
  }
  const numeric = field.dtype === 'int' || field.dtype === 'float';
  if (field.constant === null && numeric && isClose(field.min, field.max, 1e-5)) {
    return { ...field, constant: field.dtype === 'int' ? Math.trunc(field.max) : field.max };
  }
  return field;
}

/** A `range` becomes an enum over [0, 1]: min, min + step, … up to the first value at or above max. */
export function rangeToEnum(field: Field): Field {
  if (field.dtype !== 'range') return field;
  const step = Math.trunc(Number(field.dtype_param));
  if (!Number.isFinite(step) || step === 0) return field;
  if (step < 0) {
    throw new ConfigValidationError('dtype_param', field.dtype_param, 'The step of a range must be positive');
  }
  const values: number[] = [];
  for (let value = Math.trunc(field.min); value < Math.trunc(field.max) + step; value += step)
    values.push(value);
  return { ...field, min: 0, max: 1, dtype: 'enum', dtype_param: values };
}
