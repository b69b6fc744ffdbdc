import { ConfigurationError } from '../base/errors.ts';
import { healthUrl } from '../config/url-template.ts';
import { defaultHealthUrl, type ServiceGroupConfig } from '../config/parallel-config.ts';
import type { GroupTopology } from '../parallel/ports.ts';

/** An address as a part of `host:port`. */
export const inUrl = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** Where a service answers: of the user's `health_check_url`, else of the engine. */
export interface ServingPlace {
  readonly host: string;
  readonly port: number;
  readonly origin: string;
  readonly probeUrl: string;
}

/** Where it listens: on all addresses where the user says so, else on the one that it is reached at. */
export const boundHost = (given: string | undefined, { host }: ServingPlace): string =>
  given === '0.0.0.0' || given === '::' ? given : host;

export interface UsualPlace {
  readonly port: number;
  readonly path: string;
  readonly scheme?: 'http' | 'https';
}

const isGiven = ({ health_check_url: url }: ServiceGroupConfig): boolean => url !== defaultHealthUrl;

export function servingPlace({ settings, nodes }: GroupTopology, usual: UsualPlace): ServingPlace {
  const host = nodes[0]?.address ?? '';
  const scheme = usual.scheme ?? 'http';
  const own = `${scheme}://${inUrl(host)}:${usual.port + settings.port_offset}${usual.path}`;
  const probeUrl = isGiven(settings) ? healthUrl(settings, host) : own;
  const { port, origin } = new URL(probeUrl);
  return { host, port: port === '' ? (scheme === 'https' ? 443 : 80) : Number(port), origin, probeUrl };
}

/** A port of the configuration: the original writes it as a text. */
export function portNumber(text: string | undefined, usual: number): number {
  const port = Number(text);
  if (/^\d+$/.test(text ?? '') && (port < 1 || port > 65_535)) {
    throw new ConfigurationError(
      `port = ${JSON.stringify(text)} is no port`,
      {},
      { remedy: 'Give 1 … 65535.' },
    );
  }
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : usual;
}
