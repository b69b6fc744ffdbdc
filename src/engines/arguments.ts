import { ConfigurationError } from '../base/errors.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import { valueText } from '../core/space/format.ts';
import { words } from '../base/words.ts';

/**
 * The user's own words, without those that are for us to say: what a probe looks for would not be what is started.
 * @throws ConfigurationError naming the key in their place
 */
export function ownWords(text: string, table: string, reserved: Readonly<Record<string, string>>): string[] {
  const found = words(text, `${table}.others`);
  for (const [flag, instead] of Object.entries(reserved)) {
    if (!mentions(found, flag)) continue;
    throw new ConfigurationError(`${table}.others contains ${flag}`, {}, { remedy: instead });
  }
  return found;
}

const placeholder = /\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))/g;

export function namesIn(args: readonly string[]): Set<string> {
  return new Set(args.flatMap((arg) => [...arg.matchAll(placeholder)].map(([, a, b]) => a ?? b ?? '')));
}

/**
 * Puts values in the place of `$NAME` inside any argument. A word that becomes empty goes, and the flag before it.
 * `$` before anything that is no known name stays as it is.
 */
export function fill(args: readonly string[], texts: ReadonlyMap<string, string | undefined>): string[] {
  const filled: string[] = [];
  for (const arg of args) {
    const known = [...namesIn([arg])].some((name) => texts.has(name));
    const text = arg.replace(placeholder, (whole, a: string | undefined, b: string | undefined) => {
      const name = a ?? b ?? '';
      return texts.has(name) ? (texts.get(name) ?? '') : whole;
    });
    if (!known) filled.push(arg);
    else if (text === '') dropFlag(filled);
    else filled.push(...parted(text));
  }
  return filled;
}

/** A value may be a whole option, `--flag '{"a": 1}'`: two words then. */
function parted(text: string): string[] {
  const option = /^(--?[A-Za-z][\w.-]*)\s+(\S.*)$/s.exec(text);
  return option === null ? [text] : [option[1] as string, (option[2] as string).trim()];
}

function dropFlag(args: string[]): void {
  if (/^--?[A-Za-z][\w.-]*$/.test(args.at(-1) ?? '')) args.pop();
}

export const flagOf = (name: string): string => `--${name.toLowerCase().replaceAll('_', '-')}`;

/** Whether a command line says something about a flag, in one word or two. */
export function mentions(args: readonly string[], ...flags: readonly string[]): boolean {
  return args.some((arg) => flags.includes(arg.split('=')[0] ?? ''));
}

export interface FlagRules {
  /** Flags that the engine has, by their long names. */
  readonly flags: ReadonlySet<string>;
  /** Switches that have a `--no-` form; others are left out when they are off. */
  readonly negatable?: ReadonlySet<string>;
  /** Short names. */
  readonly aliases?: Readonly<Record<string, readonly string[]>>;
}

/** Fields of ours that the user's words leave open: what these fix is not searched. */
export function leftOpen(fields: readonly Field[], others: string, { aliases = {} }: FlagRules): Field[] {
  const given = words(others, 'others');
  const isFixed = ({ name }: Field): boolean => {
    const flag = flagOf(name);
    return (
      mentions(given, flag, `--no-${flag.slice(2)}`, ...(aliases[flag] ?? [])) && !namesIn(given).has(name)
    );
  };
  return fields.filter((field) => !isFixed(field));
}

/** Fields that are named after a flag of the engine and that the user's own words do not mention. */
export function flagsOfFields(
  fields: readonly Field[],
  params: ServingParams,
  given: readonly string[],
  { flags, negatable = new Set(), aliases = {} }: FlagRules,
): string[] {
  const referred = namesIn(given);
  return fields.flatMap((field) => {
    const flag = flagOf(field.name);
    const value = params[field.name];
    if (value === undefined || value === '' || field.config_position !== 'env') return [];
    if (!flags.has(flag) || referred.has(field.name) || mentions(given, flag, ...(aliases[flag] ?? [])))
      return [];
    if (value === true) return [flag];
    if (value === false) return negatable.has(flag) ? [`--no-${flag.slice(2)}`] : [];
    return [flag, valueText(value, field)];
  });
}

/** @throws ConfigurationError where the table of the engine names none */
export function givenModel(
  model: string,
  engine: string,
  what = 'the path or the name of the model',
): string {
  if (model !== '') return model;
  const remedy = `Give ${what}: [${engine}.command] model = "…".`;
  throw new ConfigurationError(`${engine}.command.model is missing`, {}, { remedy });
}
