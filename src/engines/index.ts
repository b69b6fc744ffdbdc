import type { Engine } from '../parallel/ports.ts';
import { need } from '../base/assert.ts';
import { emulatorEngine } from './emulator/emulator.ts';
import { llamacppEngine } from './llamacpp/llamacpp.ts';
import { mindieEngine } from './mindie/mindie.ts';
import { scriptEngine } from './script/script.ts';
import { sglangEngine } from './sglang/sglang.ts';
import { vllmEngine } from './vllm/vllm.ts';

/** `path`: of a module of the user. */
type Known = Engine & { readonly path?: string };

/** Every engine; a new one is a folder and a line here. Those of the user join when their module is loaded. */
export const engines: Known[] = [
  scriptEngine,
  vllmEngine,
  sglangEngine,
  mindieEngine,
  llamacppEngine,
  emulatorEngine,
] as Known[];

/** One that settings name: they were checked against this list. */
export function engineNamed(name: string): Engine {
  return need(
    engines.find((engine) => engine.name === name),
    `engine ${name}`,
  );
}
