import { parseExpression, type Scope } from '../../core/space/expression.ts';
import type { BenchmarkResult, LatencyName } from '../../parallel/ports.ts';
import { parseFailure } from '../tool.ts';

/** To seconds, 1/s and shares. */
export const factors = { s: 1, ms: 1e-3, us: 1e-6, 'tok/s': 1, 'req/s': 1, share: 1, percent: 0.01 } as const;
export type Unit = keyof typeof factors;

export const metricNames = [
  'generate_speed',
  'time_to_first_token',
  'time_per_output_token',
  'success_rate',
  'throughput',
] as const;

/** Formulas over the document of a tool. */
export interface Mapping {
  readonly metrics: Readonly<
    Partial<Record<(typeof metricNames)[number], { readonly value: string; readonly unit: Unit } | undefined>>
  >;
  /** In ms, by names that `percentileName` matches, such as `p99_ttft_ms`. */
  readonly percentiles: Readonly<Record<string, string>>;
}

export const percentileName = /^(mean|median|p90|p95|p99)_(ttft|tpot|itl|e2el)_ms$/;

/** The whole of it, or its last line: tools that print often print more than the result. */
function documentIn(file: { path: string; text: string }): Scope {
  const candidates = [file.text, file.text.trim().replace(/^[^]*\n/, '')];
  for (const text of candidates) {
    try {
      const value = JSON.parse(text) as unknown;
      if (typeof value === 'object' && value !== null) return value as Scope;
    } catch {
      // the next one
    }
  }
  return parseFailure('command', file, 'it is no JSON document');
}

/** @throws BenchmarkParseError for a formula that gives no number: never a silent zero */
export function parseCommand(
  config: Mapping,
  file: { readonly path: string; readonly text: string },
  prompts: number,
): Omit<BenchmarkResult, 'raw'> {
  const document = documentIn(file);
  const scope: Scope = { ...document, document };
  const number = (formula: string, what: string): number => {
    const value = parseExpression(formula).evaluate(scope);
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    return parseFailure('command', file, `${what} = ${formula} gives ${String(value)}, not a number`);
  };
  const performance = Object.fromEntries(
    metricNames.map((name) => {
      const wanted = config.metrics[name];
      return [name, wanted === undefined ? null : number(wanted.value, name) * factors[wanted.unit]];
    }),
  ) as Record<(typeof metricNames)[number], number | null>;
  const percentiles: Partial<Record<LatencyName, Record<string, number>>> = {};
  for (const [name, formula] of Object.entries(config.percentiles)) {
    const [statistic, latency] = name.split('_') as [string, string];
    const key = `${latency}_ms` as LatencyName;
    percentiles[key] = { ...percentiles[key], [statistic]: number(formula, name) };
  }
  return { performance, percentiles, goodput: null, numPrompts: prompts, flags: [] };
}
