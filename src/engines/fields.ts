import type { Field, ParamValue, ServingParams } from '../core/space/field.ts';
import { valueText } from '../core/space/format.ts';

type Rest = Partial<Omit<Field, 'name'>>;

/** A field that reaches its engine by name, as a flag or as a variable. */
const make = (name: string, more: Rest): Field => ({
  name,
  config_position: 'env',
  min: 0,
  max: 1,
  dtype: 'int',
  value: 0,
  dtype_param: null,
  constant: null,
  ...more,
});

export const field = {
  /** A count or budget that spans powers of two. */
  log: (name: string, min: number, max: number, value: number): Field =>
    make(name, { min, max, value, scale: 'log' }),
  int: (name: string, min: number, max: number, value: number): Field => make(name, { min, max, value }),
  float: (name: string, min: number, max: number, value: number): Field =>
    make(name, { dtype: 'float', min, max, value }),
  bool: (name: string, value: boolean): Field => make(name, { dtype: 'bool', value }),
  oneOf: (name: string, values: readonly ParamValue[], value: ParamValue): Field =>
    make(name, { dtype: 'enum', dtype_param: values, value }),
};

/** The load that every engine is tried with: found without a restart. */
export const loadFields: readonly Field[] = [field.log('CONCURRENCY', 4, 512, 64)];

/** Texts of the parameters by field name, as they stand in variables and arguments; an absent value has none. */
export function textsOf(fields: readonly Field[], params: ServingParams): Map<string, string> {
  return new Map(
    fields.flatMap((one): [string, string][] => {
      const value = params[one.name];
      const absent = value === undefined || (typeof value === 'number' && !Number.isFinite(value));
      return absent ? [] : [[one.name, valueText(value, one)]];
    }),
  );
}

/** Tuned variables of a process. An empty text means that the variable is not to be set. */
export function tunedVariables(
  fields: readonly Field[],
  texts: ReadonlyMap<string, string>,
): Record<string, string> {
  return Object.fromEntries(
    fields.flatMap(({ name, config_position: position }): [string, string][] => {
      const text = texts.get(name);
      return position === 'env' && text !== undefined && text !== '' ? [[name, text]] : [];
    }),
  );
}
