import { ConfigurationError } from '../base/errors.ts';

/** Fills `{host}`; `{{` and `}}` stand for braces, as in the original's format strings. */
export function formatUrl(template: string, host: string): string {
  const wrong = (why: string): ConfigurationError =>
    new ConfigurationError(
      `The URL template ${JSON.stringify(template)} ${why}`,
      {},
      { remedy: 'Use {host} alone.' },
    );
  const plain = host.includes(':') ? `[${host}]` : host;
  return template.replace(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g, (match, name: string | undefined) => {
    if (match === '{{') return '{';
    if (match === '}}') return '}';
    if (name === 'host') return plain;
    throw wrong(
      name === undefined ? 'has a brace without its partner' : `has an unknown placeholder {${name}}`,
    );
  });
}
