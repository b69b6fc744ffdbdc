import { ConfigurationError, ModelEvalStateError } from '../base/errors.ts';
import { parseExpression } from '../core/space/expression.ts';
import { derivedDtypes, type Field } from '../core/space/field.ts';
import { createSearchSpace, type SearchSpace, type SpaceRules } from '../core/space/space.ts';
import { fieldsInTwoStages, fieldsWithoutLoad, isTunableLoad } from '../core/tuning/load-fields.ts';
import type { GroupShape } from './parallel-config.ts';
import { InvalidConfiguration, type ConfigProblem } from './problems.ts';
import type { TopLevel } from './schema.ts';
import type { ConfigDocument } from './sources.ts';
import type { Tool } from './validate.ts';

/** Rules of the engine whose names are all searched, and those of the user. */
function rulesOf(
  engine: Tool,
  engineConfig: unknown,
  fields: readonly Field[],
  top: TopLevel,
  shape: GroupShape,
): SpaceRules {
  const surroundings = { nodes: shape.nodes, npus: shape.nodes * shape.devicesPerNode };
  const known = new Set([
    ...Object.keys(surroundings),
    ...fields.flatMap(({ name }) => [name, name.toLowerCase()]),
  ]);
  const own = (engine.constraints?.(engineConfig, shape) ?? []).filter(({ expr }) =>
    parseExpression(expr).names.every((name) => known.has(name)),
  );
  return { constraints: [...own, ...top.constraint], surroundings };
}

/** The fields of the engine, then those that the benchmark adds. @throws InvalidConfiguration, ConfigurationError */
export function spaceOf(
  tools: readonly { readonly tool: Tool; readonly config: unknown }[],
  document: ConfigDocument,
  top: TopLevel,
  shape: GroupShape,
): { readonly space: SearchSpace; readonly rules: SpaceRules } {
  const [engine, ...others] = tools as [(typeof tools)[number], ...typeof tools];
  const problems: ConfigProblem[] = [];
  const of = ({ tool, config }: (typeof tools)[number]): Field[] => {
    const fields = [...(tool.fieldsOf?.(config, shape) ?? [])];
    const source = document.origin[tool.name] ?? 'configuration';
    for (const [index, field] of fields.entries()) {
      const expected = problemOf(field);
      if (expected === undefined) continue;
      problems.push({ source, at: `${tool.name}.target_field[${index}] (${field.name})`, expected });
    }
    return fields;
  };
  const mine = of(engine);
  const fields = [
    ...mine,
    ...others.flatMap(of).filter(({ name }) => !mine.some((one) => one.name === name)),
  ];
  if (fields.length === 0) {
    const { name } = engine.tool;
    problems.push({
      source: document.origin[name] ?? 'configuration',
      at: `${name}.target_field`,
      expected: `at least one [[${name}.target_field]]: without a field there is nothing to tune`,
    });
  }
  if (problems.length > 0) throw new InvalidConfiguration(problems);
  const rules = rulesOf(engine.tool, engine.config, fields, top, shape);
  const space = createSearchSpace(fields, rules);
  // What an engine says of it, it says itself when it is started.
  const own = { ...rules, constraints: top.constraint };
  const broken = createSearchSpace(fields, own).broken(space.current);
  if (broken !== undefined) {
    throw new ConfigurationError(
      `Your present configuration breaks the constraint ${broken}`,
      {},
      { remedy: 'Correct the `value`s of the fields, which are what is measured first, or the constraint.' },
    );
  }
  return { space, rules };
}

/** What is wrong with a field by itself. */
function problemOf(field: Field): string | undefined {
  try {
    const alone = derivedDtypes.includes(field.dtype) ? ({ ...field, dtype: 'float' } as const) : field;
    createSearchSpace([alone]);
    return undefined;
  } catch (error) {
    if (!(error instanceof ModelEvalStateError)) throw error;
    return error.message;
  }
}

/** How the load of a configuration is chosen: by a search on its running service, by the original's rule, or as given. */
export type LoadRule = 'slo' | 'two_stage' | 'fixed';

/**
 * What the swarm moves in. Where the load is found by measuring it has no coordinate; the present configuration stays as
 * it is.
 */
export function searchedSpace(space: SearchSpace, rules: SpaceRules, rule: LoadRule): SearchSpace {
  if (rule === 'fixed') return space;
  const loads = space.fields.filter(isTunableLoad).map(({ name }) => name.toLowerCase());
  // A rule about the load is for when the load is chosen.
  const constraints = (rules.constraints ?? []).filter(
    ({ expr }) => !parseExpression(expr).names.some((name) => loads.includes(name.toLowerCase())),
  );
  const inside =
    rule === 'slo'
      ? fieldsWithoutLoad(space.fields)
      : fieldsInTwoStages(space.fields).map((field) => ({
          ...field,
          value: field.value ?? field.constant ?? field.max,
        }));
  return { ...createSearchSpace(inside, { ...rules, constraints }), current: space.current };
}
