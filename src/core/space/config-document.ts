import { ConfigPathError } from '../../base/errors.ts';
import type { Field, ParamValue, ServingParams } from './field.ts';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = Record<string, Json>;

const isIndex = (key: string): boolean => /^\d+$/.test(key);

/** The container under `key`, made when there is none: an array where the next part is a number. */
function descend(container: Json, key: string, next: string, path: string): Json {
  const made: Json = isIndex(next) ? [] : {};
  const put = (existing: Json | undefined, set: (value: Json) => void): Json => {
    if (existing === undefined || existing === null) {
      set(made);
      return made;
    }
    if (typeof existing !== 'object') {
      throw new ConfigPathError(path, `'${key}' already holds the value ${JSON.stringify(existing)}`);
    }
    return existing;
  };
  if (Array.isArray(container)) {
    const index = arrayIndex(container, key, path, isIndex(next) ? [] : {});
    return put(container[index], (value) => (container[index] = value));
  }
  const object = container as JsonObject;
  return put(Object.hasOwn(object, key) ? object[key] : undefined, (value) => define(object, key, value));
}

/** A plain own property, whatever its name: `__proto__` must not reach the prototype. */
function define(object: JsonObject, key: string, value: Json): void {
  Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true });
}

/** Fills the gap before a new index, so that the document has no holes. */
function arrayIndex(array: Json[], key: string, path: string, filler: Json): number {
  if (!isIndex(key)) throw new ConfigPathError(path, `'${key}' is not an index of a list`);
  const index = Number(key);
  while (array.length < index) array.push(Array.isArray(filler) ? [] : filler === null ? null : {});
  return index;
}

/** Puts the parameters at their dotted positions into a copy of `base`; those at `env` under the key `env`. */
export function placeParams(
  params: ServingParams,
  fields: readonly Pick<Field, 'name' | 'config_position'>[],
  base: JsonObject = {},
): JsonObject {
  const document = structuredClone(base);
  for (const { name, config_position: position } of fields) {
    const value = params[name];
    if (value === undefined) continue;
    if (position === 'env') {
      const env = descend(document, 'env', name, `env.${name}`) as JsonObject;
      define(env, name, value);
    } else setAt(document, position, value);
  }
  return document;
}

function setAt(document: JsonObject, position: string, value: ParamValue): void {
  const parts = position.split('.');
  let container: Json = document;
  for (let i = 0; i < parts.length - 1; i++) {
    container = descend(container, parts[i] as string, parts[i + 1] as string, position);
  }
  const last = parts.at(-1) as string;
  if (Array.isArray(container)) container[arrayIndex(container, last, position, null)] = value;
  else define(container as JsonObject, last, value);
}
