import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { skipN } from 'pure-rand/utils/skipN';

export interface Rng {
  /** Uniform in [0, 1). */
  next(): number;
  /** An independent stream, decided by this stream's seed and the label alone. */
  fork(label: string): Rng;
}

/** FNV-1a, enough to spread labels over seeds. */
function hash(text: string, seed: number): number {
  let h = (0x811c9dc5 ^ seed) >>> 0;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193) >>> 0;
  return h;
}

export function createRng(seed: number): Rng {
  const generator = xoroshiro128plus(seed | 0);
  skipN(generator, 64); // the first outputs of neighbouring seeds are correlated
  return {
    next: () => uniformFloat64(generator),
    fork: (label) => createRng(hash(label, seed)),
  };
}
