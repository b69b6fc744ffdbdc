import {
  derivedDtypes,
  enumValues,
  isConstant,
  valueBounds,
  type Field,
  type ParamValue,
  type ServingParams,
} from '../space/field.ts';

/** Parameters of the load: they need no restart of the service. */
export const isConcurrency = ({ name }: Pick<Field, 'name'>): boolean =>
  name === 'CONCURRENCY' || name === 'MAXCONCURRENCY';
export const isRequestRate = ({ name }: Pick<Field, 'name'>): boolean => name === 'REQUESTRATE';

export const isLoad = (field: Pick<Field, 'name'>): boolean => isConcurrency(field) || isRequestRate(field);

/** What a service is started with: configurations that differ in their load alone need no restart. */
export const withoutLoad = (params: ServingParams): ServingParams =>
  Object.fromEntries(Object.entries(params).filter(([name]) => !isLoad({ name })));

/** One whose number may be chosen: not fixed, not following from another field, no list of texts. */
export function isTunableLoad(field: Field): boolean {
  const texts = field.dtype === 'enum' && enumValues(field).some((value) => typeof value !== 'number');
  return isLoad(field) && !isConstant(field) && !derivedDtypes.includes(field.dtype) && !texts;
}

/** The nearest value that the field can have. */
export function loadValue(field: Field, value: number): number {
  const { min, max } = valueBounds(field);
  const inside = Math.min(max, Math.max(min, value));
  if (field.dtype === 'enum') {
    const distance = (one: number): number => Math.abs(one - inside);
    const [first = inside, ...rest] = enumValues(field).map(Number);
    return rest.reduce((nearest, one) => (distance(one) < distance(nearest) ? one : nearest), first);
  }
  return field.dtype === 'int' ? Math.trunc(inside) : inside;
}

/** The field as a constant. */
const pinned = (field: Field, value: number): Field => ({
  ...field,
  constant: value,
  value,
  dtype: field.dtype === 'enum' ? 'float' : field.dtype,
});

/**
 * The fields as they are while the swarm searches under the two-stage rule: concurrency at its maximum, request rate
 * found by measuring. Neither has a coordinate then.
 */
export function fieldsInTwoStages(fields: readonly Field[]): (Omit<Field, 'value'> & {
  /** null: no limit. */
  readonly value: ParamValue | null;
})[] {
  return fields.map((field) => {
    if (isTunableLoad(field)) {
      const most = pinned(field, loadValue(field, valueBounds(field).max));
      return isRequestRate(field) ? { ...most, value: null } : most;
    }
    const fixed = field.constant !== null && field.constant !== 0 && field.constant !== field.value;
    return fixed ? { ...field, value: field.constant } : field;
  });
}

/** The fields while every configuration's load is searched on its running service: the load has no coordinate. */
export const fieldsWithoutLoad = (fields: readonly Field[]): Field[] =>
  fields.map((field) =>
    isTunableLoad(field) ? pinned(field, loadValue(field, Number(field.value))) : field,
  );

/** The request rate of the second stage: a multiple of what the first stage got through. */
export const secondStageRate = (field: Field, throughput: number, multiplier: number): number =>
  loadValue(field, throughput * multiplier);
