import { createHash } from 'node:crypto';
import { isConstant } from '../core/space/field.ts';
import { isConcurrency, isRequestRate } from '../core/tuning/load-fields.ts';
import type { Settings } from './settings.ts';
import { isTable } from './toml.ts';

/** Keys of an engine's table that say what is searched, not what is run. */
const searched = ['target_field', 'fields', 'presets'];

const withoutSearch = (config: unknown): unknown =>
  isTable(config)
    ? Object.fromEntries(Object.entries(config).filter(([key]) => !searched.includes(key)))
    : config;

/** Keys in order: equal tables have equal texts. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (!isTable(value)) return typeof value === 'number' ? String(value) : value;
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  return entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, one]) => [key, canonical(one)]);
}

/** Equal where measurements can be compared: engine, model, machines, workload and what every configuration shares. */
export function setupOf({
  engine,
  engineConfig,
  benchmark,
  benchmarkConfig,
  parallel,
  runtime,
  simulation,
  space,
}: Settings): string {
  const [first] = parallel.service_groups;
  const isLoad = (one: { readonly name: string }): boolean => isConcurrency(one) || isRequestRate(one);
  const setup = {
    ...{ engine, benchmark, benchmarkConfig, runtime, shape: parallel.shape },
    engineConfig: withoutSearch(engineConfig),
    devices: first?.nodes.map(({ device_type, npu_ids }) => [device_type, npu_ids.length]),
    scripts: [first?.start_script, first?.worker_script, first?.env],
    model: simulation?.preset,
    shared: space.fields
      .filter((field) => isConstant(field) && !isLoad(field))
      .map(({ name, value }) => [name, value]),
  };
  return createHash('sha256')
    .update(JSON.stringify(canonical(setup)))
    .digest('hex')
    .slice(0, 16);
}
