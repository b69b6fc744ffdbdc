import { requestsHeld, whyItCannotFit, type ModelConfig, type Spread } from '../core/serving/model-memory.ts';
import { isConstant, valueBounds, type Field } from '../core/space/field.ts';
import type { Command, GroupTopology, Guidance, Refined } from '../parallel/ports.ts';

/**
 * $1: the model, a path or a name on the hub; $2: a device. Prints the model's own config.json and the device's memory
 * in MiB, as far as they can be found.
 */
const script = `for c in "$1/config.json" "\${HF_HUB_CACHE:-\${HF_HOME:-\${HOME:-/nonexistent}/.cache/huggingface}/hub}/models--$(printf %s "$1" | sed 's#/#--#g')"/snapshots/*/config.json; do
  [ -f "$c" ] || continue
  echo '--- model'
  cat "$c"
  echo
  echo '--- end'
  break
done
if command -v npu-smi >/dev/null 2>&1; then
  npu-smi info -t memory -i "$2" 2>/dev/null | sed -n 's/^[[:space:]]*HBM Capacity(MB)[[:space:]]*:[[:space:]]*/memory /p' | head -n 1
elif command -v nvidia-smi >/dev/null 2>&1; then
  nvidia-smi -i "$2" --query-gpu=memory.total --format=csv,noheader,nounits 2>/dev/null | sed -n '1s/^/memory /p'
fi
:`;

/** Looks at the model and a device of the node, behind what else the engine wants to know. */
export function memoryInspection(
  model: string,
  device: number,
  { before, env }: { readonly before?: Command | undefined; readonly env: Readonly<Record<string, string>> },
): Command {
  const words = ['sh', model, String(device)];
  if (before === undefined)
    return { argv: ['sh', '-c', script, ...words], label: 'looking at the model', env };
  const [program, flag, first = '', ...rest] = before.argv;
  // Its own words come behind the two of this script.
  const both = `( shift 2; ${first} )\n${script}`;
  return {
    ...before,
    argv: [program, flag as string, both, 'sh', model, String(device), ...rest.slice(1)],
  };
}

interface Found {
  readonly model: ModelConfig;
  readonly gib: number;
}

function foundBy(inspected: string | undefined): Found | undefined {
  const [, json] = /^--- model\n([\s\S]*?)\n--- end$/m.exec(inspected ?? '') ?? [];
  const mib = Number(/^memory\s+(\d+)/m.exec(inspected ?? '')?.[1]);
  if (json === undefined || !(mib > 0)) return undefined;
  try {
    return { model: JSON.parse(json) as ModelConfig, gib: mib / 1024 };
  } catch {
    return undefined; // it is for the engine to complain of
  }
}

/** Why the arithmetic refuses a configuration; undefined where too little is known, or it may fit. */
export function refusedByMemory(
  { nodes: [master] }: GroupTopology,
  spread: Spread,
  utilization: number,
  { theory, workload }: Guidance,
): string | undefined {
  const found = theory && foundBy(master?.inspected);
  if (found === undefined) return undefined;
  const tokens = workload === undefined ? 1 : Math.ceil(workload.inputTokens + workload.outputTokens);
  return whyItCannotFit(found.model, spread, { gib: found.gib, utilization }, tokens);
}

/** The largest value that a search may give to a number; undefined where there is no such field. */
export function mostOf(fields: readonly Field[], name: string): number | undefined {
  const field = fields.find((one) => one.name === name);
  if (field === undefined) return undefined;
  return isConstant(field) ? Number(field.value) : valueBounds(field).max;
}

/**
 * Fields in which at most as many requests run at once as the cache of all devices holds of usual ones, half answered, times
 * `scaling_coefficient`: more would wait for memory, whatever the layout.
 */
export function narrowedByMemory(
  fields: readonly Field[],
  name: string,
  { nodes }: GroupTopology,
  { utilization, others }: { readonly utilization: number; readonly others: string },
  { theory, workload }: Guidance,
): Refined {
  const field = fields.find((one) => one.name === name);
  const found = theory && foundBy(nodes[0]?.inspected);
  const isNumber = field?.dtype === 'int' && !isConstant(field);
  if (!isNumber || theory === undefined || found === undefined || workload === undefined)
    return { fields, notes: [] };
  const devices = nodes.reduce((sum, { deviceIds }) => sum + deviceIds.length, 0);
  const mayShrink =
    fields.some((one) => one.name === 'KV_CACHE_DTYPE') || others.includes('--kv-cache-dtype');
  const tokens = Math.ceil(workload.inputTokens + workload.outputTokens / 2);
  const load = { tokens, kvBytes: mayShrink ? 1 : undefined };
  const held = requestsHeld(found.model, devices, { gib: found.gib, utilization }, load);
  if (held === undefined) return { fields, notes: [] };
  const max = Math.max(Math.ceil(held * theory.scalingCoefficient), Number(field.value), field.min + 1);
  if (max >= field.max) return { fields, notes: [] };
  const note = `${name}: searched up to ${max}: the KV cache of ${devices} devices holds ${held} requests of ${tokens} tokens`;
  return { fields: fields.map((one) => (one === field ? { ...field, max } : one)), notes: [note] };
}
