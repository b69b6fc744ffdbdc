import type { ParamValue, ServingParams } from '../space/field.ts';
import type { ServingSettings } from './hardware.ts';
import type { Preset } from './presets.ts';

type Setting = keyof ServingSettings;

/** What engines call the same thing; compared without case, dashes and underscores. */
const names: Readonly<Record<Setting, readonly string[]>> = {
  max_num_seqs: ['maxnumseqs', 'maxbatchsize', 'maxrunningrequests', 'parallel'],
  max_num_batched_tokens: ['maxnumbatchedtokens', 'maxprefilltokens', 'chunkedprefillsize'],
  tensor_parallel_size: ['tensorparallelsize', 'tensorparallel', 'tp', 'tpsize'],
  data_parallel_size: ['dataparallelsize', 'dataparallel', 'dp', 'dpsize'],
  gpu_memory_utilization: ['gpumemoryutilization', 'memfractionstatic', 'npumemoryutilization'],
  max_model_len: ['maxmodellen', 'contextlength', 'ctxsize'],
  enable_chunked_prefill: ['enablechunkedprefill'],
  block_size: ['blocksize', 'pagesize'],
};

const settingOf = new Map(
  (Object.entries(names) as [Setting, readonly string[]][]).flatMap(([setting, aliases]) =>
    aliases.map((alias) => [alias, setting]),
  ),
);

const plain = (name: string): string => name.toLowerCase().replace(/[-_]/g, '');

const isTrue = (value: ParamValue): boolean => value === true || Number(value) > 0.5 || value === 'true';

/**
 * The preset's settings with those parameters that mean something to the model of a serving engine. Data parallelism
 * that nobody sets takes what tensor parallelism leaves.
 */
export function settingsOf({ defaults, deployment }: Preset, params: ServingParams): ServingSettings {
  const given: Partial<Record<Setting, number | boolean>> = {};
  for (const [name, value] of Object.entries(params)) {
    const setting = settingOf.get(plain(name));
    if (setting === 'enable_chunked_prefill') given[setting] = isTrue(value);
    else if (setting === 'gpu_memory_utilization') given[setting] = Number(value);
    else if (setting !== undefined) given[setting] = Math.max(1, Math.round(Number(value)));
  }
  const merged = { ...defaults, ...given } as ServingSettings;
  if (given.data_parallel_size !== undefined || given.tensor_parallel_size === undefined) return merged;
  const devices = deployment.nodes * deployment.acceleratorsPerNode;
  return { ...merged, data_parallel_size: Math.max(1, Math.floor(devices / merged.tensor_parallel_size)) };
}

/** The load parameters of a configuration: they need no restart. */
export function loadOf(params: ServingParams): {
  readonly concurrency: number | undefined;
  readonly requestRate: number | undefined;
} {
  const find = (...wanted: string[]): number | undefined => {
    const found = Object.entries(params).find(([name]) => wanted.includes(plain(name)));
    return found === undefined ? undefined : Number(found[1]);
  };
  return { concurrency: find('concurrency', 'maxconcurrency'), requestRate: find('requestrate') };
}
