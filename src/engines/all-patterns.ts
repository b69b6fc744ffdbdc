import type { LogPattern } from '../parallel/ports.ts';
import { llamacppEngine } from './llamacpp/llamacpp.ts';
import { mindieEngine } from './mindie/mindie.ts';
import { sglangEngine } from './sglang/sglang.ts';
import { vllmEngine } from './vllm/vllm.ts';

/** A start script may start any engine: what is specific comes before what is common to all. */
export const allPatterns: readonly LogPattern[] = [
  ...new Map(
    [vllmEngine, sglangEngine, mindieEngine, llamacppEngine]
      .flatMap(({ logPatterns }) => logPatterns)
      .map((pattern) => [pattern.text, pattern]),
  ).values(),
];
