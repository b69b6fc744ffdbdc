import { ConfigurationError } from '../base/errors.ts';
import { isTable } from '../config/toml.ts';
import { readSavedRun } from '../runs/catalog.ts';
import {
  differenceOf,
  type Changed,
  type Difference,
  type Pair,
  type RunFacts,
} from '../report/difference.ts';
import { outputOf, studyNamed, type SavedStudy } from '../saved-run.ts';
import { exitCodes } from './outcome.ts';
import { printJson, reading, type RunsOptions } from './runs.ts';
import { loadSavedSettings } from './saved.ts';
import { fieldText } from './space-text.ts';
import { columns, oneLine } from './table.ts';

/** Every value by its dotted key; tables of fields by the name of the field. */
function flattened(value: unknown, key = ''): Record<string, string> {
  const below = (name: string): string => (key === '' ? name : `${key}.${name}`);
  const all = (pairs: readonly (readonly [string, unknown])[]): Record<string, string> =>
    Object.assign({}, ...pairs.map(([name, one]) => flattened(one, below(name)))) as Record<string, string>;
  if (isTable(value)) return all(Object.entries(value));
  if (Array.isArray(value) && value.some(isTable))
    return all(
      value.map((one: unknown, index) => [
        isTable(one) && typeof one['name'] === 'string' ? one['name'] : String(index),
        one,
      ]),
    );
  return value === undefined ? {} : { [key]: JSON.stringify(value) };
}

/** What was searched, as far as its engine can still be asked (a module of the user may have gone). */
async function spaceOf(study: SavedStudy): Promise<RunFacts['space']> {
  try {
    const { settings } = await loadSavedSettings(outputOf(study), study.runId);
    const found = new Map((study.start.fields ?? []).map((field) => [field.name, field]));
    const fields = settings.space.fields.map((field) => found.get(field.name) ?? field);
    const rules = (settings.rules.constraints ?? []).map(({ expr }) => [`rule ${expr}`, 'kept']);
    return Object.fromEntries([...fields.map((field) => [field.name, fieldText(field)]), ...rules]) as Record<
      string,
      string
    >;
  } catch (error) {
    if (error instanceof ConfigurationError) return undefined;
    throw error;
  }
}

async function factsOf(study: SavedStudy): Promise<RunFacts> {
  const { input } = readSavedRun(outputOf(study), study.runId);
  const flags = { ...input.flags, output: undefined };
  const settings = {
    ...flattened(input.document.values),
    ...flattened(flags, 'flag'),
    ...flattened(study.start.slos, 'slos'),
  };
  const { slos, setup } = study.start;
  return { told: study.told, slos, settings, setup, space: await spaceOf(study) };
}

const percent = (share: number | null): string => (share === null ? '–' : `${(100 * share).toFixed(1)} %`);

function rowOf({ trials, speeds, counts, slower }: Pair): string[] {
  const cell = (i: 0 | 1): string => `${speeds[i].toFixed(1)} (${counts[i]})`;
  return [
    String(trials[0]),
    String(trials[1]),
    cell(0),
    cell(1),
    (speeds[1] / speeds[0]).toFixed(3),
    percent(slower),
  ];
}

function changesText(what: string, changes: readonly Changed[] | null): string {
  if (changes === null) return `${what}: not known any more of one of them\n`;
  if (changes.length === 0) return `${what}: the same\n`;
  const value = (one: string | undefined): string => oneLine(one ?? '–').slice(0, 60);
  const rows = changes.map(({ key, values }) => [`  ${key}`, value(values[0]), value(values[1])]);
  return `${what}:\n${columns(rows)}`;
}

function changedParams(
  first: Readonly<Record<string, unknown>>,
  second: Readonly<Record<string, unknown>>,
): string[][] {
  const cell = (value: unknown): string => (value === undefined ? '–' : oneLine(JSON.stringify(value)));
  return Object.keys({ ...first, ...second }).flatMap((name) =>
    first[name] === second[name] ? [] : [[`  ${name}`, cell(first[name]), cell(second[name])]],
  );
}

function text(
  { settings, space, same_setup, best, common, verdict, why }: Difference,
  [a, b]: readonly SavedStudy[],
): string {
  const params = best === null ? [] : changedParams(best.params, best.params_of_second);
  const head = ['  trial', 'trial', 'tok/s (runs)', 'tok/s (runs)', 'ratio', 'slower'];
  const rows = [...(best === null ? [] : [best]), ...common].map(rowOf);
  return [
    `first:  ${a?.runId ?? ''}\nsecond: ${b?.runId ?? ''}\n`,
    changesText('settings', settings),
    changesText('search space', space),
    same_setup ? '' : 'Their setups differ (engine, model, hardware or workload): a ratio says less.\n',
    best === null ? '' : `recommended:\n${columns([head, ...rows.slice(0, 1).map(indented)], [2, 3, 4, 5])}`,
    params.length === 0 ? '' : columns(params),
    common.length === 0
      ? 'no configuration was measured by both\n'
      : `measured by both:\n${columns([head, ...rows.slice(best === null ? 0 : 1).map(indented)], [2, 3, 4, 5])}`,
    `${verdict}: ${why}\n`,
  ].join('');
}

const indented = ([first = '', ...rest]: string[]): string[] => [`  ${first}`, ...rest];

/** Two runs side by side. @returns 1 when the second is significantly worse, for a pipeline to gate on */
export async function diff(first: string, second: string, options: RunsOptions): Promise<number> {
  return reading(options, async () => {
    const output = options.output ?? 'result';
    const studies = [await studyNamed(output, first), await studyNamed(output, second)] as const;
    const difference = differenceOf(await factsOf(studies[0]), await factsOf(studies[1]));
    if (options.json === true) printJson({ runs: studies.map(({ runId }) => runId), ...difference });
    else process.stdout.write(text(difference, studies));
    return difference.verdict === 'worse' ? exitCodes.infeasible : exitCodes.feasible;
  });
}
