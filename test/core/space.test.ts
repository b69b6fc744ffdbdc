import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fieldSchema } from '../../src/config/schema-tables.ts';
import { createConstraint } from '../../src/core/space/constraints.ts';
import { parseExpression } from '../../src/core/space/expression.ts';
import type { Field } from '../../src/core/space/field.ts';
import { createSearchSpace } from '../../src/core/space/space.ts';
import { fieldsInTwoStages, isTunableLoad, loadValue } from '../../src/core/tuning/load-fields.ts';

const field = (name: string, more: Record<string, unknown> = {}): Field =>
  fieldSchema.parse({ name, config_position: 'env', dtype: 'int', min: 1, max: 9, value: 2, ...more });

describe('formulas', () => {
  test('and, or give their operands, as a default for what is not there needs it', () => {
    const of = (text: string, scope: Record<string, unknown>) => parseExpression(text).evaluate(scope);
    expect(of('150 / (150 + (failed || 0))', { failed: 50 })).toBe(0.75);
    expect(of('150 / (150 + (failed || 0))', {})).toBe(1);
    expect(of('a && a.b', { a: { b: 7 } })).toBe(7);
  });

  test('what would be true by accident is refused', () => {
    const constraint = (expr: string) =>
      createConstraint({ expr }, [field('SEQS'), field('ON', { dtype: 'bool' })], {});
    expect(() => constraint('8 <= seqs <= 16')).toThrow('do not chain');
    expect(() => constraint('seqs <= "100"')).toThrow('without quotes');
    expect(() => constraint('seqs')).toThrow('compare it with something');
    expect(() => constraint('seqs + 1')).toThrow('compare it with something');
    expect(constraint('8 <= seqs && seqs <= 16').holds({ SEQS: 9, ON: true })).toBe(true);
    expect(constraint('on').holds({ SEQS: 9, ON: false })).toBe(false);
  });
});

describe('a space', () => {
  test('is seen by a model in ratios where a field spans a factor of 16, whatever its own scale is', () => {
    const space = createSearchSpace([
      field('NARROW', { min: 1, max: 9 }),
      field('WIDE', { min: 4, max: 256 }),
      field('LOG', { min: 4, max: 256, scale: 'log' }),
      field('FROM_NOTHING', { min: 0, max: 100 }),
    ]);
    const at = space.encode({ NARROW: 3, WIDE: 32, LOG: 32, FROM_NOTHING: 50 });
    expect(at[1]).toBeCloseTo(28 / 252, 9);
    const seen = space.inRatios(at);
    expect(seen[0]).toBe(at[0]);
    expect(seen[1]).toBeCloseTo(0.5, 9);
    expect(seen[2]).toBeCloseTo(0.5, 9);
    expect(seen[3]).toBe(at[3]);
    expect(space.inRatios([0, 0, 0, 0])).toEqual([0, 0, 0, 0]);
  });

  test('every position decodes; a product that cannot be divided is a broken rule', () => {
    const dtype_param = { product: 65536, dtype: 'int', target_names: ['A', 'B'] };
    const wide = { min: 1, max: 1000 };
    const space = createSearchSpace([
      field('A', wide),
      field('B', wide),
      field('C', { dtype: 'ternary_factories', dtype_param, ...wide }),
    ]);
    const unit = fc.double({ min: 0, max: 1, noNaN: true });
    let infeasible = 0;
    fc.assert(
      fc.property(
        fc.array(unit, { minLength: space.dimensions, maxLength: space.dimensions }),
        (position) => {
          const { A, B, C } = space.decode(position) as Record<string, number>;
          if (space.broken({ A: A!, B: B!, C: C! }) === undefined) expect(C! >= 1).toBe(true);
          else infeasible++;
        },
      ),
      { seed: 1 },
    );
    expect(infeasible).toBeGreaterThan(0);
  });

  test('what could not be searched is refused when it is loaded, by name', () => {
    const refused = (...fields: Field[]) => expect(() => createSearchSpace(fields));
    refused(field('A', { max: Infinity, dtype: 'float' })).toThrow('A needs finite bounds');
    refused(field('A', { dtype: 'range', dtype_param: 2, scale: 'log' })).toThrow(
      'Only int and float have a scale',
    );
    refused(
      field('A'),
      field('B', { dtype: 'times', dtype_param: { target_name: 'A', dtype: 'int' } }),
    ).toThrow('B needs a `product`');
    refused(
      field('A', { dtype: 'range', dtype_param: 2 }),
      field('B', { dtype: 'share', dtype_param: 'A' }),
    ).toThrow('must be int or float');
  });

  test('a text that is meant as one stays a text', () => {
    const value = (more: Record<string, unknown>) => field('A', more).value;
    expect(value({ dtype: 'enum', dtype_param: ['true', 'false'], value: 'true' })).toBe('true');
    expect(value({ dtype: 'enum', dtype_param: ['16', '32'], value: 32 })).toBe('32');
    expect(value({ dtype: 'enum', dtype_param: [16, 32], value: '32' })).toBe(32);
    expect(value({ dtype: 'str', value: '0123' })).toBe('0123');
    expect(value({ dtype: 'bool', value: 'true' })).toBe(true);
    expect(value({ dtype: 'int', value: '4' })).toBe(4);
  });
});

describe('the load in two stages', () => {
  const listed = { dtype: 'enum', dtype_param: [16, 32, 64, 128], min: 0, max: 1, value: 32 };

  test('a list of values is at its largest, not at its coordinate', () => {
    const [pinned] = fieldsInTwoStages([field('CONCURRENCY', listed)]);
    expect(pinned).toMatchObject({ constant: 128, value: 128 });
    expect(createSearchSpace([{ ...pinned!, value: 128 }, field('A')]).decode([0.5])).toMatchObject({
      CONCURRENCY: 128,
    });
  });

  test('only values that the field can have', () => {
    expect(loadValue(field('CONCURRENCY', listed), 70)).toBe(64);
    expect(loadValue(field('CONCURRENCY', { max: 400 }), 102.4)).toBe(102);
    expect(loadValue(field('REQUESTRATE', { dtype: 'float', max: 10 }), 20)).toBe(10);
  });

  test('what follows from another field is not chosen', () => {
    expect(isTunableLoad(field('CONCURRENCY', { dtype: 'ratio', dtype_param: 'A' }))).toBe(false);
    expect(isTunableLoad(field('CONCURRENCY', { constant: 4 }))).toBe(false);
    expect(isTunableLoad(field('CONCURRENCY'))).toBe(true);
  });
});
