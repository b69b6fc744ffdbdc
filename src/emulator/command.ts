import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const beside = fileURLToPath(new URL('./main.js', import.meta.url));
const script = existsSync(beside) ? beside : beside.replace('/src/', '/dist/');

/** How the emulator is started on this machine. Compiled code has it beside; sources use the compiled one. */
export const emulatorCommand = (): [string, string] => [process.execPath, script];
