import TOML from '@iarna/toml';
import { InvalidConfiguration } from './problems.ts';

export type Table = Record<string, unknown>;

export const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

interface TomlSyntaxError extends Error {
  readonly line: number;
  readonly col: number;
}

export function parseToml(source: string, text: string): Table {
  try {
    return TOML.parse(text);
  } catch (error) {
    const { line, col, message } = error as TomlSyntaxError;
    const what = message.replace(/\n[^]*/, '').replace(/ at row \d+, col \d+, pos \d+:?$/, '');
    throw new InvalidConfiguration([
      { source, at: `line ${line + 1}, column ${col + 1}`, expected: `valid TOML: ${what}` },
    ]);
  }
}
