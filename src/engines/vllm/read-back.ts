import type { EffectiveValue, ReadBack } from '../../parallel/ports.ts';
import type { ParamValue } from '../../core/space/field.ts';
import { layoutField, layoutText } from '../layout.ts';

type Table = Readonly<Record<string, unknown>>;

const tableAt = (value: unknown, key: string): Table => {
  const found = (value as Table | null | undefined)?.[key];
  return typeof found === 'object' && found !== null ? (found as Table) : {};
};

/** Field, section and key of the engine's own configuration, and what it takes when nobody asks. */
const places: readonly [string, string, string, ParamValue?][] = [
  ['MAX_NUM_SEQS', 'scheduler_config', 'max_num_seqs'],
  ['MAX_NUM_BATCHED_TOKENS', 'scheduler_config', 'max_num_batched_tokens'],
  ['ASYNC_SCHEDULING', 'scheduler_config', 'async_scheduling'],
  ['ENABLE_CHUNKED_PREFILL', 'scheduler_config', 'enable_chunked_prefill'],
  ['LONG_PREFILL_TOKEN_THRESHOLD', 'scheduler_config', 'long_prefill_token_threshold'],
  ['GPU_MEMORY_UTILIZATION', 'cache_config', 'gpu_memory_utilization', 0.9],
  ['BLOCK_SIZE', 'cache_config', 'block_size'],
  ['ENABLE_PREFIX_CACHING', 'cache_config', 'enable_prefix_caching'],
  ['KV_CACHE_DTYPE', 'cache_config', 'cache_dtype', 'auto'],
  ['MAX_MODEL_LEN', 'model_config', 'max_model_len'],
  ['ENFORCE_EAGER', 'model_config', 'enforce_eager'],
];

const isValue = (value: unknown): value is ParamValue =>
  typeof value === 'number' || typeof value === 'boolean' || typeof value === 'string';

function fromConfig(config: Table): Record<string, EffectiveValue> {
  const found: Record<string, EffectiveValue> = {};
  for (const [name, section, key, usual] of places) {
    const value = tableAt(config, section)[key];
    if (isValue(value)) found[name] = usual === undefined ? { value } : { value, usual };
  }
  const parallel = tableAt(config, 'parallel_config');
  const size = (key: string): number => Number(parallel[key] ?? 1);
  if ('tensor_parallel_size' in parallel) {
    const layout = {
      tp: size('tensor_parallel_size'),
      pp: size('pipeline_parallel_size'),
      dp: size('data_parallel_size'),
      ep: parallel['enable_expert_parallel'] === true,
    };
    found[layoutField] = { value: layoutText(layout) };
    found['TENSOR_PARALLEL_SIZE'] = { value: layout.tp };
    found['PIPELINE_PARALLEL_SIZE'] = { value: layout.pp };
    found['DATA_PARALLEL_SIZE'] = { value: layout.dp };
  }
  return found;
}

/** `vllm:cache_config_info{block_size="16",…} 1.0`: the little that older versions tell. */
function fromMetrics(text: string): Record<string, EffectiveValue> {
  const labels = /^vllm:cache_config_info\{(.*)\}/m.exec(text)?.[1] ?? '';
  const label = (name: string): string | undefined => new RegExp(`${name}="([^"]*)"`).exec(labels)?.[1];
  const names: [string, string][] = [
    ['GPU_MEMORY_UTILIZATION', 'gpu_memory_utilization'],
    ['BLOCK_SIZE', 'block_size'],
    ['ENABLE_PREFIX_CACHING', 'enable_prefix_caching'],
    ['KV_CACHE_DTYPE', 'cache_dtype'],
  ];
  return Object.fromEntries(
    names.flatMap(([name, key]) => {
      const value = label(key);
      return value === undefined ? [] : [[name, { value }]];
    }),
  );
}

export function vllmReadBack(origin: string): ReadBack {
  return {
    urls: [`${origin}/server_info?config_format=json`, `${origin}/metrics`],
    parse(body) {
      if (!body.trimStart().startsWith('{')) return fromMetrics(body);
      const config = (JSON.parse(body) as Table)['vllm_config'];
      // Older versions answer with one long text that is no JSON.
      if (typeof config !== 'object') throw new TypeError('vllm_config is a text');
      return fromConfig(config as Table);
    },
  };
}
