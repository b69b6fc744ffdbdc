import { enumValues, isConstant, type Field } from '../core/space/field.ts';

/** What a field may be, and is at present. */
export function fieldText(field: Field): string {
  const { dtype, dtype_param: listed, min, max, scale, value } = field;
  const bounds = `${min} … ${max}${scale === undefined ? '' : `, ${scale}`}`;
  const range = dtype === 'enum' ? JSON.stringify(listed) : bounds;
  return `${isConstant(field) ? 'constant' : range}, now ${String(value)}`;
}

/** undefined: any number between two others. */
function countOf(field: Field): number | undefined {
  if (field.dtype === 'enum') return enumValues(field).length;
  if (field.dtype === 'bool') return 2;
  return field.dtype === 'int' ? Math.trunc(field.max) - Math.trunc(field.min) + 1 : undefined;
}

/** How many configurations there are to choose from, rules aside. */
export function sizeText(fields: readonly Field[]): string {
  const counts = fields.filter((field) => !isConstant(field)).map(countOf);
  const size = counts.reduce<number>((product, count) => product * (count ?? 1), 1);
  const reals = counts.filter((count) => count === undefined).length;
  const number = size < 1e6 ? size.toLocaleString('en') : size.toExponential(1).replace('e+', ' × 10^');
  return `${number} configurations${reals === 0 ? '' : `, each at any value of ${reals} real number(s)`}`;
}
