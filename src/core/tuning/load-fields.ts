import type { Field, ParamValue } from '../space/field.ts';

/** Parameters of the load: they need no restart of the service. */
export const isConcurrency = ({ name }: Pick<Field, 'name'>): boolean =>
  name === 'CONCURRENCY' || name === 'MAXCONCURRENCY';
export const isRequestRate = ({ name }: Pick<Field, 'name'>): boolean => name === 'REQUESTRATE';

const converted = ({ dtype }: Field, value: number): number => (dtype === 'int' ? Math.trunc(value) : value);

/**
 * The fields as they are while the swarm searches under the two-stage rule: concurrency at its maximum, request rate
 * found by measuring. Neither has a coordinate then.
 */
export function fieldsInTwoStages(fields: readonly Field[]): (Omit<Field, 'value'> & {
  /** null: no limit. */
  readonly value: ParamValue | null;
})[] {
  return fields.map((field) => {
    if (isConcurrency(field) && field.constant === null) {
      const most = converted(field, field.max);
      return { ...field, constant: most, value: most };
    }
    if (isRequestRate(field) && field.constant === null) {
      return { ...field, constant: converted(field, field.max), value: null };
    }
    const fixed = field.constant !== null && field.constant !== 0 && field.constant !== field.value;
    return fixed ? { ...field, value: field.constant } : field;
  });
}

/** The request rate of the second stage: a little more than what the first stage got through. */
export function secondStageRate(field: Field, throughput: number): number {
  const wanted = throughput * 1.05;
  const value = field.dtype === 'int' ? Math.trunc(wanted) : wanted;
  return converted(field, Math.min(field.max, Math.max(field.min, value)));
}
