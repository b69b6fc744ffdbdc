import pino, { type Logger } from 'pino';
import type { RunEvent } from '../base/events.ts';
import { redactSecrets } from '../base/redact.ts';

/** The full log of a run, JSON Lines in its directory. */
export function openLog(file: string, level: string): Logger {
  const destination = pino.destination({ dest: file, mkdir: true, sync: true, mode: 0o600 });
  destination.on('error', () => undefined); // a disk that is full: the journal says it
  return pino({ level }, destination);
}

const details: readonly RunEvent['type'][] = ['trial.phase', 'trial.progress', 'group.checked'];
const warnings: readonly RunEvent['type'][] = ['group.down', 'trial.retry', 'run.stopping'];

export function logEvent(log: Logger, event: RunEvent): void {
  const safe = JSON.parse(JSON.stringify(event, redactSecrets)) as object;
  const level = warnings.includes(event.type) ? 'warn' : details.includes(event.type) ? 'debug' : 'info';
  log[level](safe, event.type);
}
