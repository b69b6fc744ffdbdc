import type { BenchmarkResult } from '../../parallel/ports.ts';
import { reportedFlat, scoredLatency, type ScoredBy } from '../statistics.ts';
import { documentOf, numberIn, parseFailure } from '../tool.ts';

/** One line a run is appended; newer versions write `Infinity`, which JSON does not know. */
export function parseSglangBench(
  file: { readonly path: string; readonly text: string },
  scored: ScoredBy,
  asked: number,
): Omit<BenchmarkResult, 'raw'> {
  const line = file.text
    .split('\n')
    .filter((one) => one.trim() !== '')
    .at(-1);
  if (line === undefined) return parseFailure('sglang_benchmark', file, 'it holds no line');
  const readable = line.replace(/:\s*(-?Infinity|NaN)(?=[,}])/g, ': null');
  const document = documentOf('sglang_benchmark', file, readable);
  const needed = (key: string): number => numberIn('sglang_benchmark', file, document, key);
  const reported = reportedFlat(document, { e2el_ms: 'e2e_latency_ms' });
  return {
    performance: {
      generate_speed: needed('output_throughput'),
      time_to_first_token: scoredLatency(reported, 'ttft_ms', scored.time_to_first_token),
      time_per_output_token: scoredLatency(reported, 'tpot_ms', scored.time_per_output_token),
      // It reports no failures: what was not completed failed.
      success_rate: Math.min(1, needed('completed') / asked),
      throughput: needed('request_throughput'),
    },
    percentiles: reported,
    goodput: null,
    numPrompts: asked,
    flags: [],
  };
}
