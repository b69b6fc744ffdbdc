import type { HttpProbe } from './ports.ts';

/** Where services say which version they are: vLLM, SGLang (new and old), llama.cpp. */
const places = [
  ['/version', 'version'],
  ['/server_info', 'version'],
  ['/get_server_info', 'version'],
  ['/props', 'build_info'],
] as const;

const longest = 80;

function versionIn(body: string | undefined, key: string): string | undefined {
  if (body === undefined) return undefined;
  try {
    const value = (JSON.parse(body) as Record<string, unknown> | null)?.[key];
    return typeof value === 'string' && value !== '' ? value.slice(0, longest) : undefined;
  } catch {
    return undefined; // answers anything with a page of its own
  }
}

/** What a healthy service says that it is; undefined where it does not tell. */
export async function serviceVersion(
  baseUrl: string,
  http: HttpProbe,
  signal: AbortSignal,
): Promise<string | undefined> {
  const found = await Promise.all(
    places.map(async ([path, key]) => versionIn(await http.text(new URL(path, baseUrl).href, signal), key)),
  );
  return found.find((version) => version !== undefined);
}
