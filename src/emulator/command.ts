import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** How the emulator is started on this machine. Compiled code has it beside; sources use the compiled one. */
export function emulatorCommand(): [string, string] {
  const beside = fileURLToPath(new URL('./main.js', import.meta.url));
  return [process.execPath, existsSync(beside) ? beside : beside.replace('/src/', '/dist/')];
}
