import { ConfigurationError, IPCCommandError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import { defaultWorkDir, type NodeConfig } from '../config/parallel-config.ts';
import type { NodeFacts, NodeProbe } from '../parallel/ports.ts';
import { quote } from './quote.ts';
import { shell } from './scripts.ts';

/**
 * Makes the work directory, which is `$d` from then on, ours alone where it is made by us, and looks for accelerators;
 * almost without a fork. For `factsOf`.
 */
export function inspection({ work_dir: workDir }: NodeConfig): string {
  return `umask 077
d=${quote(workDir)} warning=
if [ -e "$d" ] && [ ! -O "$d" ] && ${workDir === defaultWorkDir ? 'true' : 'false'}; then
  uid=$(id -u)
  warning="$d belongs to another user; using $d-$uid"
  d=$d-$uid
fi
[ -d "$d/runs" ] || mkdir -p "$d/runs" || exit 73
if [ ! -O "$d/runs" ] || [ -h "$d/runs" ]; then echo "$d/runs belongs to another user" >&2; exit 73; fi
if ! { true >"$d/runs/.writable"; } 2>/dev/null; then echo "$d/runs is not writable" >&2; exit 73; fi
[ -r /proc/self/environ ] || { echo "no /proc here" >&2; exit 69; }
for tool in setsid flock; do
  command -v $tool >/dev/null || { echo "$tool (util-linux) is missing" >&2; exit 69; }
done
type=npu
if command -v nvidia-smi >/dev/null 2>&1; then type=gpu; fi
if command -v npu-smi >/dev/null 2>&1; then type=npu; fi
printf '%s\\n%s\\n%s\\n' "$d" "$type" "$warning"
if command -v npu-smi >/dev/null 2>&1; then npu-smi info 2>/dev/null
elif command -v nvidia-smi >/dev/null 2>&1; then nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null
fi
:
`;
}

/** `index, used, total` of each device, MiB; the tool's own word for what it does not know is no number. */
const nvidiaMemory = 'nvidia-smi --query-gpu=index,memory.used,memory.total --format=csv,noheader,nounits';

/** The largest share in use among the given devices. */
export function shareInUse(csv: string, ids: readonly number[]): number | undefined {
  const shares = csv.split('\n').flatMap((line) => {
    const [index, used, total] = line.split(',').map((cell) => Number(cell.trim()));
    const known = index !== undefined && ids.includes(index) && (total ?? 0) > 0 && !Number.isNaN(used);
    return known ? [(used as number) / (total as number)] : [];
  });
  return shares.length === 0 ? undefined : Math.max(...shares);
}

/** `HBM-Usage(MB)` of npu-smi's table, `3403 / 65536`, one row a chip in the order of the logic ids. */
export function npuShareInUse(table: string, ids: readonly number[]): number | undefined {
  const rows = table.split('\n').flatMap((line) => {
    const last = [...line.matchAll(/(\d+)\s*\/\s*(\d+)/g)].at(-1);
    const bus = /[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:/.test(line);
    return bus && last !== undefined ? [Number(last[1]) / Number(last[2])] : [];
  });
  const shares = rows.filter((_, id) => ids.includes(id));
  return shares.length === 0 ? undefined : Math.max(...shares);
}

/** `8 × NVIDIA H100 80GB HBM3, driver 550.54.15`, of nvidia-smi's `name, driver` or of npu-smi's table. */
export function hardwareOf(lines: readonly string[]): string | undefined {
  const npuDriver = lines.flatMap((line) => /^\|\s*npu-smi\s+(\S+)/.exec(line)?.[1] ?? []).at(0);
  const names = lines.flatMap((line) => {
    const npu =
      /^\|\s*\d+\s+([A-Za-z0-9-]*[A-Za-z][A-Za-z0-9-]*)\s*\|\s*(?:OK|Warning|Alarm|Critical|UNKNOWN)\b/.exec(
        line,
      )?.[1];
    const gpu = /^(\S[^,|]*),\s*(\d+(?:\.\d+)+)\s*$/.exec(line);
    if (npu !== undefined) return [`${npu}, driver ${npuDriver ?? 'unknown'}`];
    return gpu === null ? [] : [`${String(gpu[1])}, driver ${String(gpu[2])}`];
  });
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts.size === 0 ? undefined : [...counts].map(([name, count]) => `${count} × ${name}`).join('; ');
}

const nvidiaHolders = 'nvidia-smi --query-compute-apps=pid,process_name,used_memory --format=csv,noheader';

/** Rows of the second table of npu-smi: NPU and chip, process id, its name, MB. */
export function npuHolders(table: string): string {
  const rows = [...table.matchAll(/^\|\s*\d+\s+\d+\s*\|\s*(\d+)\s*\|\s*(\S+)\s*\|\s*(\d+)/gm)];
  return rows.map(([, pid, name, mb]) => `${String(pid)}, ${String(name)}, ${String(mb)} MB`).join('; ');
}

/** What `inspection` printed. */
export function factsOf(stdout: string, node: NodeConfig): NodeFacts {
  const [workDir = node.work_dir, found = 'npu', warning = '', ...said] = stdout.split('\n');
  return {
    workDir,
    deviceType: node.device_type ?? (found === 'gpu' ? 'gpu' : 'npu'),
    warning: warning === '' ? undefined : warning,
    hardware: hardwareOf(said),
  };
}

/** Why `inspection` failed. */
export function unusable(error: unknown, node: NodeConfig): unknown {
  if (!(error instanceof IPCCommandError)) return error;
  const reason = String(error.details['reason']);
  if (!/exit code (73|69)/.test(reason)) return error;
  return new ConfigurationError(
    `The work directory ${node.work_dir} of ${node.host} cannot be used: ${reason}`,
    {},
    {
      cause: error,
      remedy: `Give another work_dir in [parallel.defaults], or mend its owner, permissions or free space on ${node.host}.`,
    },
  );
}

export const nodeProbe: NodeProbe = {
  async memoryHolders(executor, { deviceType }, signal) {
    const command = deviceType === 'gpu' ? nvidiaHolders : 'npu-smi info';
    try {
      const { stdout } = await executor.run(shell(command, 'holders of device memory'), {
        signal,
        timeout: ms(30_000),
      });
      return deviceType === 'gpu' ? stdout.trim().split('\n').join('; ') : npuHolders(stdout);
    } catch {
      signal.throwIfAborted();
      return '';
    }
  },

  async memoryInUse(executor, { npu_ids: ids }, { deviceType }, signal) {
    if (deviceType === 'none') return undefined;
    const command = deviceType === 'gpu' ? nvidiaMemory : 'npu-smi info';
    try {
      const { stdout } = await executor.run(shell(command, 'device memory'), { signal, timeout: ms(30_000) });
      return deviceType === 'gpu' ? shareInUse(stdout, ids) : npuShareInUse(stdout, ids);
    } catch {
      signal.throwIfAborted();
      return undefined;
    }
  },

  async inspect(executor, node, signal): Promise<NodeFacts> {
    try {
      const command = shell(inspection(node), 'looking around');
      const { stdout } = await executor.run(command, { signal, timeout: ms(30_000) });
      return factsOf(stdout, node);
    } catch (error) {
      throw unusable(error, node);
    }
  },
};
