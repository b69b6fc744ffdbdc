import { readFileSync } from 'node:fs';
import { ConfigurationError } from '../../base/errors.ts';
import type { Rng } from '../../base/rng.ts';
import { normal } from '../../core/pso/draws.ts';
import type { BuiltinConfig } from './config.ts';

export interface Prompt {
  readonly text: string;
  /** Output tokens to ask for. */
  readonly maxTokens: number;
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

interface DatasetEntry {
  readonly prompt?: unknown;
  readonly output_len?: unknown;
  readonly max_tokens?: unknown;
  readonly conversations?: readonly { readonly value?: unknown }[];
}

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

function readDataset(path: string): DatasetEntry[] {
  try {
    const text = readFileSync(path, 'utf8');
    if (!path.endsWith('.jsonl')) return JSON.parse(text) as DatasetEntry[];
    return text
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => JSON.parse(line) as DatasetEntry);
  } catch (cause) {
    throw datasetError(path, (cause as Error).message, cause);
  }
}

function fromEntry(entry: DatasetEntry): { text: string; tokens: number | undefined } | undefined {
  const tokens = [entry.output_len, entry.max_tokens].find((value) => typeof value === 'number');
  if (typeof entry.prompt === 'string') return { text: entry.prompt, tokens };
  const [question, answer] = entry.conversations ?? [];
  if (typeof question?.value !== 'string' || typeof answer?.value !== 'string') return undefined;
  return { text: question.value, tokens: Math.max(4, answer.value.split(/\s+/).length) };
}

/** `count` prompts that are the same for the same generator. @throws ConfigurationError for an unusable dataset */
export function makePrompts(config: BuiltinConfig, count: number, rng: Rng): Prompt[] {
  if (config.dataset_path === '') {
    return Array.from({ length: count }, (_, index) => {
      const text = salted(index, rng, synthetic(draw(config.input_len, rng), rng));
      return { text, maxTokens: draw(config.output_len, rng) };
    });
  }
  const entries = readDataset(config.dataset_path)
    .map(fromEntry)
    .filter((entry) => entry !== undefined);
  if (entries.length === 0) throw datasetError(config.dataset_path, 'it has no prompts');
  return Array.from({ length: count }, (_, index) => {
    const entry = entries[Math.floor(rng.next() * entries.length)] as (typeof entries)[number];
    return { text: salted(index, rng, entry.text), maxTokens: entry.tokens ?? draw(config.output_len, rng) };
  });
}
