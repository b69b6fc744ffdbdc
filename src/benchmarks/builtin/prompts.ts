import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { ConfigurationError } from '../../base/errors.ts';
import type { Rng } from '../../base/rng.ts';
import { normal } from '../../core/pso/draws.ts';
import type { BuiltinConfig } from './config.ts';

export interface Prompt {
  readonly text: string;
  /** Output tokens to ask for. */
  readonly maxTokens: number;
  /** What is asked after the answers, turn by turn. */
  readonly more: readonly string[];
}

/** Words of about one token each in the usual vocabularies. */
const words =
  'time year people way day man thing woman life child world school state family student group country problem hand part place case week company system program question work number night point home water room mother area money story fact month lot right study book eye job word business issue side kind head house service friend father power hour game line end member law car city'.split(
    ' ',
  );

type Length = BuiltinConfig['input_len'];

function draw(length: Length, rng: Rng): number {
  if (typeof length === 'number') return length;
  const value = Math.round(length.mean + normal(rng) * length.std);
  return Math.max(length.min, Math.min(length.max, value));
}

/** The salt comes first, so that no prefix cache has seen any of these prompts. */
function salted(index: number, rng: Rng, text: string): string {
  const salt = Math.floor(rng.next() * 0x1_0000_0000).toString(36);
  return `${salt}${index.toString(36)} ${text}`;
}

function synthetic(tokens: number, rng: Rng): string {
  return Array.from(
    { length: Math.max(0, tokens - 3) },
    () => words[Math.floor(rng.next() * words.length)],
  ).join(' ');
}

const tokens = z.number().int().min(1).nullish();
const turn = z.object({ from: z.string().optional(), value: z.string() });
const datasetEntry = z.object({
  prompt: z.string().optional(),
  output_len: tokens,
  max_tokens: tokens,
  conversations: z.array(turn).optional(),
});
type DatasetEntry = z.infer<typeof datasetEntry>;

function datasetError(path: string, why: string, cause?: unknown): ConfigurationError {
  return new ConfigurationError(
    `Cannot use the dataset ${path}: ${why}`,
    {},
    {
      cause,
      remedy:
        'dataset_path wants a .jsonl file with {"prompt": …, "output_len": …} a line, or a ShareGPT .json file.',
    },
  );
}

/** Where an entry stands, for who has to mend it. */
function checked(path: string, entries: readonly unknown[], at: (index: number) => string): DatasetEntry[] {
  return entries.map((entry, index) => {
    const parsed = datasetEntry.safeParse(entry);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw datasetError(path, `${at(index)}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim());
  });
}

function parsed(path: string, text: string, where = ''): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw datasetError(path, `${where}${(cause as Error).message}`, cause);
  }
}

function readDataset(path: string): DatasetEntry[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw datasetError(path, (cause as Error).message, cause);
  }
  if (!path.endsWith('.jsonl')) {
    const whole = parsed(path, text);
    if (!Array.isArray(whole)) throw datasetError(path, 'it is no list');
    return checked(path, whole, (index) => `entry ${index}`);
  }
  const lines = text
    .split('\n')
    .flatMap((line, index) => (line.trim() === '' ? [] : [{ line, number: index + 1 }]));
  const entries = lines.map(({ line, number }) => parsed(path, line, `line ${number}: `));
  return checked(path, entries, (index) => `line ${lines[index]?.number ?? ''}`);
}

const isUser = ({ from }: z.infer<typeof turn>): boolean =>
  from === undefined || ['human', 'user'].includes(from);

/** The first question that was answered, and about how long the answer was. */
function fromEntry(entry: DatasetEntry): { text: string; tokens: number | undefined } | undefined {
  if (entry.prompt !== undefined) {
    return { text: entry.prompt, tokens: entry.output_len ?? entry.max_tokens ?? undefined };
  }
  const turns = entry.conversations ?? [];
  const asked = turns.findIndex((one, index) => isUser(one) && turns[index + 1] !== undefined);
  const [question, answer] = asked === -1 ? [] : turns.slice(asked, asked + 2);
  if (question === undefined || answer === undefined) return undefined;
  return { text: question.value, tokens: Math.max(4, answer.value.split(/\s+/).length) };
}

/** Questions after the first; as long as that one. */
function followUps({ turns, input_len }: BuiltinConfig, rng: Rng): string[] {
  return Array.from({ length: turns - 1 }, () => synthetic(draw(input_len, rng), rng));
}

/** `count` prompts that are the same for the same generator. @throws ConfigurationError for an unusable dataset */
export function makePrompts(config: BuiltinConfig, count: number, rng: Rng): Prompt[] {
  if (config.dataset_path === '') {
    return Array.from({ length: count }, (_, index) => {
      const text = salted(index, rng, synthetic(draw(config.input_len, rng), rng));
      const maxTokens = draw(config.output_len, rng);
      return { text, maxTokens, more: followUps(config, rng) };
    });
  }
  const entries = readDataset(config.dataset_path)
    .map(fromEntry)
    .filter((entry) => entry !== undefined);
  if (entries.length === 0) throw datasetError(config.dataset_path, 'it has no prompts');
  return Array.from({ length: count }, (_, index) => {
    const entry = entries[Math.floor(rng.next() * entries.length)] as (typeof entries)[number];
    const text = salted(index, rng, entry.text);
    const maxTokens = entry.tokens ?? draw(config.output_len, rng);
    return { text, maxTokens, more: followUps(config, rng) };
  });
}
