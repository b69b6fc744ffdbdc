import { split } from 'shlex';
import { ConfigurationError } from './errors.ts';

/** Words of a command line as a shell would split them. @throws ConfigurationError for an open quote */
export function words(text: string, where: string): string[] {
  try {
    return split(text);
  } catch (cause) {
    throw new ConfigurationError(
      `${where} is no command line: ${(cause as Error).message}`,
      {},
      { cause, remedy: `Close the quotes in ${where}.` },
    );
  }
}
