import { expect, test } from 'vitest';
import { abortable } from '../../src/base/cancellation.ts';

test('work that fails after the abort came first ends no process', async () => {
  const unhandled: unknown[] = [];
  const hear = (error: unknown): void => void unhandled.push(error);
  process.on('unhandledRejection', hear);
  try {
    const work = Promise.reject(new Error('the work'));
    await expect(abortable(work, AbortSignal.abort(new Error('the abort')))).rejects.toThrow('the abort');
    await new Promise((next) => setTimeout(next, 20));
    expect(unhandled).toEqual([]);
  } finally {
    process.off('unhandledRejection', hear);
  }
});
