import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { ModelEvalStateError } from '../../src/base/errors.ts';
import { journalText, readJournal, repaired, scanJournal } from '../../src/runs/journal-content.ts';
import { summarize } from '../../src/report/summary.ts';
import { almost, numRuns } from './arbitraries.ts';

describe('journals', () => {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-fuzz-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const trial = (n: number): string =>
    `${JSON.stringify({
      type: 'told',
      at: '2000-01-01T00:00:00Z',
      record: {
        ...{
          trial_id: n,
          group_id: 0,
          params: { a: 1 },
          failed_attempts: [],
          reused_from: null,
          confirms: null,
        },
        verdict: {
          ...{ kind: 'scored', fitness: 1, terms: {}, percentiles: {}, violations: [], flags: [] },
          performance: {
            generate_speed: 1,
            time_to_first_token: 1,
            time_per_output_token: 1,
            success_rate: 1,
            throughput: 1,
          },
        },
        ...{ started_at: '2000-01-01T00:00:00Z', finished_at: '2000-01-01T00:00:00Z' },
        ...{ start_s: 1, benchmark_s: 1, duration_s: 1, num_prompts: 1 },
      },
    })}\n`;
  const whole = [0, 1, 2].map(trial).join('');
  const lines = fc
    .array(fc.constantFrom(trial(0), trial(1), '{}\n', 'null\n', '\n', '{"type":"told"}\n'), { maxLength: 6 })
    .map((all) => all.join(''));
  const journals = almost([whole], lines);

  test('what is whole is kept, and everything that follows can be read', () => {
    fc.assert(
      fc.property(journals, (text) => {
        const content = scanJournal(Buffer.from(text));
        const at = '2000-01-01T00:00:00Z';
        const kept = repaired(content);
        summarize(kept, { status: 'interrupted', exitCode: 130, at, error: null }, {});
        const count = Buffer.from(text).toString('utf8').split('\n').length - 1;
        expect(content.entries.length + content.later.length + content.damaged.length).toBe(count);
        // What is written again is whole.
        const again = scanJournal(Buffer.from(journalText(kept)));
        expect(again.damaged).toEqual([]);
        expect(again.entries.length).toBe(kept.length);
      }),
      { numRuns },
    );
  });

  test('one that is damaged is refused with the line and the way to repair it', async () => {
    const path = join(directory, 'journal.jsonl');
    await fc.assert(
      fc.asyncProperty(journals, async (text) => {
        writeFileSync(path, text);
        const { damaged } = scanJournal(Buffer.from(text));
        const error = await readJournal(path).then(
          () => undefined,
          (reason: unknown) => reason as ModelEvalStateError,
        );
        if (damaged.length === 0) expect(error).toBeUndefined();
        else {
          expect(error).toBeInstanceOf(ModelEvalStateError);
          expect(error?.message).toContain(`${path}:${damaged[0]?.line} is damaged`);
          expect(error?.remedy).toContain('optimizer runs repair');
        }
      }),
      { numRuns },
    );
  });
});
