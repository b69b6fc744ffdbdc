import { expect, test } from 'vitest';
import { sizeText } from '../../src/cli/space-text.ts';
import type { Field } from '../../src/core/space/field.ts';

const field = (more: Partial<Field>): Field => ({
  ...{ name: 'x', config_position: 'env', min: 0, max: 1, dtype: 'int', dtype_param: null, value: 0 },
  ...{ constant: null, ...more },
});

test('the size of a search space: whole numbers, choices and switches count, constants do not', () => {
  const batch = field({ min: 1, max: 256 });
  const layout = field({ dtype: 'enum', dtype_param: ['a', 'b', 'c'] });
  expect(sizeText([batch, layout, field({ dtype: 'bool' }), field({ constant: 4 })])).toBe(
    '1,536 configurations',
  );
  expect(sizeText([field({ max: 9999 }), field({ max: 9999 }), field({ dtype: 'float' })])).toBe(
    '1.0 × 10^8 configurations, each at any value of 1 real number(s)',
  );
});
