import { ConfigValidationError } from '../../base/errors.ts';
import { createConstraint, type Constraint, type ConstraintRule } from './constraints.ts';
import { indivisible, type DecodeContext } from './derived.ts';
import type { Scope } from './expression.ts';
import {
  derivedDtypes,
  enumValues,
  isConstant,
  rangeToEnum,
  validateField,
  type Field,
  type ServingParams,
} from './field.ts';
import { fieldToParam, findAvailableValue, mapParamWithValue } from './mapping.ts';

/** A point of the search: every coordinate in [0, 1]. */
export type UnitVector = readonly number[];

export interface Bounds {
  readonly lower: readonly number[];
  readonly upper: readonly number[];
}

/** The server and load parameters of a study as a unit cube; total: every unit vector decodes. */
export interface SearchSpace {
  readonly fields: readonly Field[];
  readonly dimensions: number;
  /** By coordinate: choices of more than two texts, which have no order. */
  readonly unordered: readonly boolean[];
  /** The fields' own bounds, one entry a coordinate. */
  readonly bounds: Bounds;
  decode(position: UnitVector, context?: DecodeContext): ServingParams;
  /** Where a decoded position really is: fields that gave way to a derived one have moved. */
  settled(position: UnitVector, params: ServingParams): UnitVector;
  /** The rule that a configuration breaks; undefined: it may be started. */
  broken(params: ServingParams): string | undefined;
  /** The position next to a configuration; values outside the bounds go to the bound. */
  encode(params: ServingParams): UnitVector;
  /** A position as a model sees it: of what spans a factor of 16 it is ratios that are alike, not differences. */
  inRatios(position: UnitVector): UnitVector;
  /** What the user runs today: the `value`s of the fields. */
  readonly current: ServingParams;
}

/** Equal for equal configurations, whatever the order of their keys. */
export function paramsKey(params: ServingParams): string {
  return JSON.stringify(Object.entries(params).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** `u · (max - min) + min`, without losing an integer to rounding: 31.999999999999996 would become 31. */
function interpolate(u: number, min: number, max: number): number {
  const x = min + u * (max - min);
  const whole = Math.round(x);
  return Math.abs(x - whole) <= 1e-9 * Math.max(1, Math.abs(x)) ? whole : x;
}

/** The fields that a derived one is made of. */
function referencesOf({ dtype, dtype_param: given }: Field): readonly unknown[] {
  const param = given as { target_name?: unknown; target_names?: unknown } | null;
  switch (dtype) {
    case 'ratio':
      return [given];
    case 'factories':
    case 'times':
      return [param?.target_name];
    case 'ternary_factories':
    case 'ternary_times':
      return Array.isArray(param?.target_names) ? param.target_names : [undefined];
    default:
      return [];
  }
}

/** Between the unit interval and a field's own bounds. */
function fromUnit(u: number, { min, max, scale }: Field): number {
  switch (scale) {
    case 'log':
      return interpolate(1, 0, min * (max / min) ** u);
    case 'sqrt':
      return interpolate(1, 0, interpolate(u, Math.sqrt(min), Math.sqrt(max)) ** 2);
    default:
      return interpolate(u, min, max);
  }
}

const linear = (value: number, low: number, high: number): number => (value - low) / (high - low);

function toUnit(x: number, { min, max, scale }: Pick<Field, 'min' | 'max' | 'scale'>): number {
  let u = linear(x, min, max);
  if (scale === 'log') u = Math.log(x / min) / Math.log(max / min);
  if (scale === 'sqrt') u = linear(Math.sqrt(x), Math.sqrt(min), Math.sqrt(max));
  return Math.min(1, Math.max(0, u));
}

function checkFinite({ name, min, max }: Field): void {
  if (Number.isFinite(min) && Number.isFinite(max)) return;
  throw new ConfigValidationError('min/max', `min=${min}, max=${max}`, `${name} needs finite bounds`);
}

function checkFactors({ name, dtype, dtype_param: param }: Field): void {
  if (!/times|factories/.test(dtype) || Number.isFinite((param as { product?: unknown } | null)?.product))
    return;
  throw new ConfigValidationError('dtype_param', param, `${name} needs a \`product\`, a number`);
}

function checkShare({ name, dtype, dtype_param: given }: Field, fields: readonly Field[]): void {
  const other = fields.find((one) => one.name === given);
  if (dtype !== 'share' || other === undefined || other.dtype === 'int' || other.dtype === 'float') return;
  throw new ConfigValidationError(
    'dtype_param',
    given,
    `${name} is a share of ${other.name}, which must be int or float, not ${other.dtype}`,
  );
}

function checkReferences(fields: readonly Field[]): void {
  const names = new Set<string>();
  for (const field of fields) {
    if (names.has(field.name)) {
      throw new ConfigValidationError('name', field.name, `Two fields are called ${field.name}`);
    }
    names.add(field.name);
    if (field.config_position === 'env' && !/^[A-Za-z_][A-Za-z0-9_]*$/.test(field.name)) {
      throw new ConfigValidationError(
        'name',
        field.name,
        `${field.name} is no name of an environment variable`,
      );
    }
  }
  for (const field of fields) {
    const { dtype } = field;
    checkFactors(field);
    checkShare(field, fields);
    for (const other of referencesOf(field)) {
      if (typeof other === 'string' && names.has(other)) continue;
      throw new ConfigValidationError(
        'dtype_param',
        other,
        `${field.name} refers to a field that does not exist`,
      );
    }
    if (dtype === 'enum' && !isConstant(field) && enumValues(field).length === 0) {
      throw new ConfigValidationError(
        'dtype_param',
        field.dtype_param,
        `${field.name} needs a list of values`,
      );
    }
  }
}

/** The present configuration is run as it is: only constants replace what the user gave. */
function presentValues(fields: readonly Field[]): ServingParams {
  return Object.fromEntries(
    fields.map((field) => {
      const value = field.constant ?? field.value;
      return [field.name, field.dtype === 'bool' && typeof value === 'number' ? value > 0.5 : value];
    }),
  );
}

export interface SpaceRules {
  readonly constraints?: readonly ConstraintRule[];
  /** What constraints may name beside the fields. */
  readonly surroundings?: Scope;
}

/** @throws ConfigPathError, ConfigValidationError naming the field */
export function createSearchSpace(
  given: readonly Field[],
  { constraints: rules = [], surroundings = {} }: SpaceRules = {},
): SearchSpace {
  // A constant is a value, also where the original left the two apart.
  const fields = given
    .map((field) => rangeToEnum(validateField(field)))
    .map((field) => (field.constant === null ? field : { ...field, value: field.constant }));
  checkReferences(fields);
  const open = fields.filter((field) => !isConstant(field));
  open.forEach(checkFinite);
  const lower = open.map((field) => field.min);
  const upper = open.map((field) => field.max);
  const constraints: Constraint[] = rules.map((rule) => createConstraint(rule, fields, surroundings));
  const givesWay = new Set(
    fields.filter(({ dtype }) => dtype === 'ternary_factories').flatMap((field) => referencesOf(field)),
  );
  const toFields = (u: number, i: number): number => fromUnit(u, open[i] as Field);

  return {
    fields,
    dimensions: open.length,
    unordered: open.map(isUnordered),
    bounds: { lower, upper },
    current: presentValues(fields),
    decode: (position, context) =>
      Object.fromEntries(mapParamWithValue(position.map(toFields), fields, context)),
    settled(position, params) {
      if (givesWay.size === 0) return position;
      const again = this.encode(params);
      return position.map((u, i) => (givesWay.has(open[i]?.name) ? (again[i] ?? u) : u));
    },
    broken: (params) =>
      constraints.find((constraint) => !constraint.holds(params))?.text ?? indivisible(fields, params),
    encode(params) {
      const placed = fields.map((field) => nearest(field, params[field.name] ?? field.value));
      return fieldToParam(placed).params.map((x, i) => toUnit(x, open[i] as Field));
    },
    inRatios: (position) =>
      position.map((u, i) => {
        const field = open[i] as Field;
        const { min, max } = field;
        return isWide(field) ? toUnit(fromUnit(u, field), { min, max, scale: 'log' }) : u;
      }),
  };
}

const isWide = ({ dtype, min, max }: Field): boolean =>
  (dtype === 'int' || dtype === 'float') && min > 0 && max / min >= 16;

const isUnordered = (field: Field): boolean =>
  field.dtype === 'enum' &&
  enumValues(field).length > 2 &&
  enumValues(field).some((value) => typeof value === 'string');

function nearest(field: Field, value: Field['value']): Field {
  if (isConstant(field) || field.dtype === 'bool' || field.dtype === 'str') return { ...field, value };
  const values = enumValues(field);
  if (field.dtype === 'enum' && (values.includes(value) || values.some((one) => typeof one === 'string'))) {
    return { ...field, value: values.includes(value) ? value : (values[0] ?? value) };
  }
  // Derived fields keep their value: their coordinate follows from the field that they refer to.
  const derived = derivedDtypes.includes(field.dtype);
  return { ...field, value: derived ? value : findAvailableValue(field, value) };
}
