import type { ModelEvalStateError } from '../base/errors.ts';
import type { ErrorRecord } from './records.ts';

export function errorRecord(error: ModelEvalStateError): ErrorRecord {
  const { message, remedy, blame, details } = error;
  return { class: error.name, message, remedy, blame, details };
}
