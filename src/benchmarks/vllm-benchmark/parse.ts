import type { BenchmarkResult } from '../../parallel/ports.ts';
import { reportedFlat, scoredLatency, type ScoredBy } from '../statistics.ts';
import { documentOf, numberIn, parseFailure } from '../tool.ts';

type Document = Readonly<Record<string, unknown>>;

interface ResultFile {
  readonly path: string;
  readonly text: string;
}

/** Companions beside the results: profiles and per-request details. */
export const isResult = (path: string): boolean => path.endsWith('.json') && !path.endsWith('.pytorch.json');

/** With --append-result a file holds several documents, a line each. */
function lastDocument(file: ResultFile): Document {
  const last = file.text.trim().split('\n').at(-1) ?? '';
  const appended = last.startsWith('{') && last.endsWith('}');
  return documentOf('vllm_benchmark', file, appended ? last : file.text);
}

/** The last document of the newest file is the result. */
export function parseVllmBench(files: readonly ResultFile[], scored: ScoredBy): Omit<BenchmarkResult, 'raw'> {
  const file = files.at(-1);
  if (file === undefined)
    return parseFailure(
      'vllm_benchmark',
      { path: 'result directory', text: '' },
      'no result file was written',
    );
  const document = lastDocument(file);
  const needed = (key: string): number => numberIn('vllm_benchmark', file, document, key);
  const completed = needed('completed');
  const failed = document['failed'];
  const prompts = Number(document['num_prompts'] ?? completed);
  const asked = typeof failed === 'number' ? completed + failed : prompts;
  const reported = reportedFlat(document);
  return {
    performance: {
      generate_speed: needed('output_throughput'),
      time_to_first_token: scoredLatency(reported, 'ttft_ms', scored.time_to_first_token),
      time_per_output_token: scoredLatency(reported, 'tpot_ms', scored.time_per_output_token),
      success_rate: asked > 0 ? completed / asked : null,
      throughput: needed('request_throughput'),
    },
    percentiles: reported,
    goodput: typeof document['request_goodput'] === 'number' ? document['request_goodput'] : null,
    numPrompts: prompts,
    flags: [],
  };
}
