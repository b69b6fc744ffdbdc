import { ConfigurationError } from '../base/errors.ts';

function wrong(template: string, why: string): ConfigurationError {
  return new ConfigurationError(
    `The URL template ${JSON.stringify(template)} ${why}`,
    {},
    { remedy: 'Write it like http://{host}:8000/health.' },
  );
}

/** Fills `{host}`; `{{` and `}}` stand for braces, as in the original's format strings. */
export function fillTemplate(template: string, host: string): string {
  const plain = host.includes(':') ? `[${host}]` : host;
  return template.replace(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g, (match, name: string | undefined) => {
    if (match === '{{') return '{';
    if (match === '}}') return '}';
    if (name === 'host') return plain;
    throw wrong(
      template,
      name === undefined ? 'has a brace without its partner' : `has an unknown placeholder {${name}}`,
    );
  });
}

/** The URL at which a group on a host is healthy; groups that share hosts have ports of their own. */
export function healthUrl(
  { health_check_url: template, port_offset: offset }: { health_check_url: string; port_offset: number },
  host: string,
): string {
  const url = formatUrl(template, host);
  if (offset === 0) return url;
  const at = new URL(url);
  at.port = String((at.port === '' ? (at.protocol === 'https:' ? 443 : 80) : Number(at.port)) + offset);
  return at.href;
}

/** The URL of a host. @throws ConfigurationError where the template makes none */
export function formatUrl(template: string, host: string): string {
  const filled = fillTemplate(template, host);
  if (!/^https?:\/\//.test(filled) || !URL.canParse(filled)) throw wrong(template, 'is no URL');
  return filled;
}
