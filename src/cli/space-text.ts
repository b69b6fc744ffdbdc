import type { Field } from '../core/space/field.ts';

/** What a field may be, and is at present. */
export function fieldText({ dtype, dtype_param: param, constant, min, max, scale, value }: Field): string {
  const range =
    constant !== null || min === max
      ? 'constant'
      : dtype === 'enum'
        ? JSON.stringify(param)
        : `${min} … ${max}${scale === undefined ? '' : `, ${scale}`}`;
  return `${range}, now ${String(value)}`;
}
