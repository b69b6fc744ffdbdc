import { ConfigValidationError } from '../../base/errors.ts';
import { parseExpression, type Scope } from './expression.ts';
import type { Field, ServingParams } from './field.ts';

/** A rule that configurations must keep; one that breaks it never sees an accelerator. */
export interface Constraint {
  /** What it is called when it is broken. */
  readonly text: string;
  holds(params: ServingParams): boolean;
}

/** As a configuration file or an engine states it. */
export interface ConstraintRule {
  readonly expr: string;
  readonly reason?: string | undefined;
}

/** Field names as they are and in lower case, whatever the user prefers to write. */
function scopeOf(params: ServingParams, surroundings: Scope): Scope {
  const lower = Object.entries(params).map(([name, value]) => [name.toLowerCase(), value] as const);
  return { ...surroundings, ...Object.fromEntries(lower), ...params };
}

/**
 * @param surroundings further names: `nodes`, `npus`, and what the configuration fixes
 * @throws ConfigValidationError for what is no formula, or names nothing
 */
export function createConstraint(
  { expr, reason }: ConstraintRule,
  fields: readonly Field[],
  surroundings: Scope,
): Constraint {
  const expression = parseExpression(expr);
  const known = scopeOf(Object.fromEntries(fields.map(({ name, value }) => [name, value])), surroundings);
  const unknown = expression.names.filter((name) => !Object.hasOwn(known, name));
  if (unknown.length > 0) {
    throw new ConfigValidationError(
      'expr',
      expr,
      `${JSON.stringify(expr)}: ${unknown.join(', ')} is no field here; known: ${Object.keys(known).join(', ')}`,
    );
  }
  const bare = fields.find(({ name }) => name === expr.trim() || name.toLowerCase() === expr.trim());
  if (!expression.isCondition || (bare !== undefined && bare.dtype !== 'bool')) {
    throw new ConfigValidationError('expr', expr, `${JSON.stringify(expr)}: compare it with something`);
  }
  return {
    text: reason ?? expr,
    holds: (params) => Boolean(expression.evaluate(scopeOf(params, surroundings))),
  };
}
