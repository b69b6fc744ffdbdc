import type { Engine } from '../parallel/ports.ts';
import { scriptEngine } from './script/script.ts';

/** Every engine; a new one is a folder and a line here. */
export const engines: readonly Engine[] = [scriptEngine];
