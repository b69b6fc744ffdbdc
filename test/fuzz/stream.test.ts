import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TokenStream } from '../../src/benchmarks/builtin/stream.ts';
import { almost, numRuns } from './arbitraries.ts';

const event = (data: unknown): string => `data: ${JSON.stringify(data)}\n\n`;
const token = event({ choices: [{ text: ' x', finish_reason: null }] });
const usage = event({ choices: [], usage: { prompt_tokens: 9, completion_tokens: 3 } });
const whole = `${token}${token}${usage}data: [DONE]\n\n`;

/** Events as servers write them, and as they should not. */
const written = [
  token,
  usage,
  event({ choices: [{ delta: { role: 'assistant', content: '' } }] }),
  event({ choices: [{ delta: { content: 'y' }, finish_reason: 'stop' }] }),
  event({ choices: [{ delta: { reasoning_content: 'z' }, finish_reason: { type: 'length' } }] }),
  event({ choices: [{ delta: { reasoning: 'z' } }] }),
  event({ usage: { completion_tokens: null } }),
  event({ error: { message: 'out of memory' } }),
  event({ error: 'no' }),
  event({ error: {} }),
  ': comment\n\n',
  'unknown: field\n\n',
  'data: [DONE]\n\n',
];
const events = fc
  .array(fc.oneof(fc.constantFrom(...written), fc.jsonValue({ maxDepth: 2 }).map(event)), { maxLength: 8 })
  .map((all) => all.join(''));

const streams = almost([whole], events);

/** The bytes in pieces, wherever the network cut them. */
function outcomeOf(text: string, cuts: readonly number[]): ReturnType<TokenStream['outcome']> {
  const bytes = Buffer.from(text);
  const stream = new TokenStream(0);
  let from = 0;
  for (const [index, cut] of [...cuts.map((at) => at % (bytes.length + 1)), bytes.length]
    .sort((a, b) => a - b)
    .entries()) {
    stream.feed(bytes.subarray(from, cut), index + 1);
    from = cut;
  }
  return stream.outcome();
}

describe('SSE streams', () => {
  test('an outcome whatever the server sends, and the same wherever its bytes are cut', () => {
    fc.assert(
      fc.property(streams, fc.array(fc.nat(2000), { maxLength: 6 }), (text, cuts) => {
        const outcome = outcomeOf(text, cuts);
        const uncut = outcomeOf(text, []);
        expect(outcome.ok).toBe(uncut.ok);
        if (!outcome.ok) {
          expect(outcome.message).not.toBe('');
          expect(outcome).toEqual(uncut);
          return;
        }
        expect(uncut).toMatchObject({ outputTokens: outcome.outputTokens, estimated: outcome.estimated });
        for (const value of [outcome.ttftMs, outcome.e2elMs, outcome.inputTokens, outcome.outputTokens])
          expect(Number.isFinite(value) && value >= 0).toBe(true);
        expect(outcome.itlsMs.every((itl) => itl >= 0)).toBe(true);
        if (outcome.estimated) expect(outcome.outputTokens).toBe(outcome.itlsMs.length + 1);
      }),
      // Each by itself and behind a token, whatever the seed.
      { numRuns, examples: written.flatMap((one) => [one, token + one]).map((text) => [text, [7]]) },
    );
  });

  test('a line that never ends does not fill the memory', () => {
    const stream = new TokenStream(0);
    const chunk = Buffer.alloc(1024 * 1024, 'x');
    const before = process.memoryUsage().rss;
    stream.feed(Buffer.from(`data: `), 1);
    for (let i = 0; i < 400; i++) stream.feed(chunk, i);
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024);
    expect(stream.outcome()).toMatchObject({
      ok: false,
      kind: 'error',
      message: expect.stringMatching(/more than \d+ bytes/) as string,
    });
  });
});
