import type { Field, ParamValue } from './field.ts';

/** Shortest text of a float as the original's language writes it: `1.0`, `1e-05`, `1e+16`, `inf`. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0';
  const [digits = '', exponentText = '0'] = value.toExponential().split('e');
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) {
    const sign = exponent < 0 ? '-' : '+';
    return `${digits}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  const plain =
    exponent < 0 ? value.toFixed(digits.replace(/[-.]/g, '').length - 1 - exponent) : String(value);
  return plain.includes('.') ? plain : `${plain}.0`;
}

/** Dtypes whose values are floats in the original, also where they are whole. */
const floatDtypes: readonly string[] = ['float', 'range', 'env'];

/** A parameter value as it stands in CSV files and environment variables. */
export function valueText(value: ParamValue, field: Pick<Field, 'dtype' | 'value'>): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value === 'string') return value;
  const isFloat = floatDtypes.includes(field.dtype) || !Number.isInteger(value);
  return isFloat ? floatText(value) : String(value);
}
