import { SimulatorStartError } from '../base/errors.ts';
import type { ParamValue, ServingParams } from '../core/space/field.ts';
import type { Effect, Effects } from './records.ts';
import type { EffectiveValue, HttpProbe, ReadBack } from './ports.ts';

const sameValue = (a: ParamValue, b: ParamValue): boolean => {
  const [x, y] = [Number(a), Number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return Math.abs(x - y) <= 1e-6 * Math.max(1, Math.abs(x));
  return String(a).toLowerCase() === String(b).toLowerCase();
};

/** @throws SimulatorStartError where a value was asked for and nothing came of it */
function effectOf(
  engine: string,
  name: string,
  asked: ParamValue,
  found: EffectiveValue | undefined,
): Effect {
  if (found === undefined) return { kind: 'unknown' };
  if (sameValue(asked, found.value)) return { kind: 'as_asked' };
  if (found.usual === undefined || !sameValue(found.usual, found.value))
    return { kind: 'adjusted', effective: found.value };
  throw new SimulatorStartError(
    engine,
    `${name} = ${String(asked)} was ignored: the service runs with ${String(found.value)}, its default`,
    undefined,
    { blame: 'params', remedy: `Check how ${name} reaches the engine, or leave the field out.` },
  );
}

/** Asks a healthy service what it runs with. @throws SimulatorStartError for a value that was ignored */
export async function readBack(
  engine: string,
  { urls, parse }: ReadBack,
  params: ServingParams,
  http: HttpProbe,
  signal: AbortSignal,
): Promise<Effects> {
  let found: Readonly<Record<string, EffectiveValue>> = {};
  for (const url of urls) {
    const body = await http.text(url, signal);
    if (body === undefined) continue;
    try {
      found = parse(body);
    } catch {
      continue; // another version answers in another form: nothing is known then
    }
    break;
  }
  return Object.fromEntries(
    Object.entries(params).map(([name, asked]) => [name, effectOf(engine, name, asked, found[name])]),
  );
}

/** The configuration that really ran. */
export function effectiveParams(params: ServingParams, effects: Effects | undefined): ServingParams {
  return Object.fromEntries(
    Object.entries(params).map(([name, asked]) => {
      const effect = effects?.[name];
      return [name, effect?.kind === 'adjusted' ? effect.effective : asked];
    }),
  );
}
