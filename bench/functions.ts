import type { Field, ServingParams } from '../src/core/space/field.ts';
import { createSearchSpace } from '../src/core/space/space.ts';
import type { Scenario, Truth } from './scenarios.ts';

/** Functions of numbers, whole numbers and choices without order, whose least value, 1, is known. */

const field = (name: string, more: Partial<Field>): Field => ({
  ...{ name, config_position: 'env', min: 0, max: 1, dtype: 'float', value: 0.9 },
  ...{ dtype_param: null, constant: null },
  ...more,
});

const backends = ['a', 'b', 'c', 'd', 'e'];
const fields: readonly Field[] = [
  ...['U', 'V', 'W'].map((name) => field(name, {})),
  ...['N', 'M'].map((name) => field(name, { dtype: 'int', min: 1, max: 64, value: 60 })),
  field('SWITCH', { dtype: 'bool', value: false }),
  field('BACKEND', { dtype: 'enum', dtype_param: backends, value: 'e' }),
];

/** Where the least value is, each coordinate in 0 … 1, and how far a configuration is from there. */
const least = [0.3, 0.62, 0.45, 0.25, 0.7];

function away(params: ServingParams): { readonly z: readonly number[]; readonly choices: number } {
  const numbers = ['U', 'V', 'W'].map((name) => Number(params[name]));
  const whole = ['N', 'M'].map((name) => (Number(params[name]) - 1) / 63);
  const wrong = backends.indexOf(String(params['BACKEND']));
  return {
    z: [...numbers, ...whole].map((x, i) => x - (least[i] ?? 0)),
    choices: (params['SWITCH'] === true ? 0 : 0.15) + [0.3, 0.1, 0, 0.4, 0.2][wrong]!,
  };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function scenario(
  name: string,
  of: (z: readonly number[]) => number,
  fails?: (z: readonly number[]) => boolean,
): Scenario {
  return {
    ...{ name, space: createSearchSpace(fields), startS: 120, speeds: [1], heldBack: false, best: 1 },
    truth(params): Truth {
      const { z, choices } = away(params);
      if (fails?.(z) === true) return { kind: 'infeasible' };
      return { kind: 'scored', fitness: 1 + of(z) + choices, benchmarkS: 60 };
    },
  };
}

export const testFunctions = (): Scenario[] => [
  scenario('bowl', (z) => 2 * sum(z.map((x) => x * x))),
  scenario('ellipse', (z) => sum(z.map((x, i) => 0.5 * 4 ** i * 0.25 * x * x))),
  scenario('valley', (z) => {
    const [a = 0, b = 0, ...rest] = z;
    return 12 * (b - 2 * a * a) ** 2 + a * a + sum(rest.map((x) => x * x));
  }),
  scenario('ripples', (z) => sum(z.map((x) => 1.5 * x * x + 0.06 * (1 - Math.cos(8 * Math.PI * x))))),
  scenario(
    'cliff',
    (z) => 2 * sum(z.map((x) => x * x)),
    ([a = 0, b = 0]) => a + b > 0.05,
  ),
];
