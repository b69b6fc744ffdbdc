import type { Engine } from '../parallel/ports.ts';
import { need } from '../base/assert.ts';
import { emulatorEngine } from './emulator/emulator.ts';
import { scriptEngine } from './script/script.ts';

/** Every engine; a new one is a folder and a line here. */
export const engines: readonly Engine[] = [scriptEngine, emulatorEngine];

/** One that settings name: they were checked against this list. */
export function engineNamed(name: string): Engine {
  return need(
    engines.find((engine) => engine.name === name),
    `engine ${name}`,
  );
}
