import { posix } from 'node:path';
import { ConfigurationError } from '../base/errors.ts';
import { NodeConfig, ServiceGroupConfig, type ParallelConfig } from './parallel-config.ts';

/** More than one service a node: devices, ports and directories are split among groups on the same hosts. */

/** Services may use a few ports above their own. */
const portsApart = 10;

/** A part of the node's devices, and a directory of its own. */
function partOf(node: NodeConfig, part: number, parts: number): NodeConfig {
  const share = node.npu_ids.length / parts;
  if (!Number.isInteger(share)) {
    throw new ConfigurationError(
      `The ${node.npu_ids.length} devices of ${node.host} cannot be shared by ${parts} groups`,
      {},
      {
        remedy:
          'Choose groups_per_node so that it divides the number of devices, or name fewer with npu_ids.',
      },
    );
  }
  return new NodeConfig(
    Object.assign({}, node, {
      npu_ids: node.npu_ids.slice(part * share, (part + 1) * share),
      work_dir: posix.join(node.work_dir, `part${part}`),
    }),
  );
}

/** Scripts stay where they are: in the directory that the parts are in. */
function scriptIn(workDir: string, script: string | undefined): string | undefined {
  return script !== undefined && /^\.{1,2}\//.test(script) ? posix.join(workDir, script) : script;
}

function groupOf(group: ServiceGroupConfig, part: number, parts: number): ServiceGroupConfig {
  const dir = group.nodes[0]?.work_dir ?? '';
  return new ServiceGroupConfig(
    Object.assign({}, group, {
      group_id: group.group_id * parts + part,
      nodes: group.nodes.map((node) => partOf(node, part, parts)),
      start_script: scriptIn(dir, group.start_script),
      worker_script: scriptIn(dir, group.worker_script),
      stop_script: scriptIn(dir, group.stop_script),
      port_offset: part * portsApart,
    }),
  );
}

/** @throws ConfigurationError where devices do not divide */
export function inParts(parallel: ParallelConfig, parts: number): ParallelConfig {
  if (parts === 1) return parallel;
  return parallel.withGroups(
    parallel.service_groups.flatMap((group) =>
      Array.from({ length: parts }, (_, part) => groupOf(group, part, parts)),
    ),
  );
}

/** @throws ConfigurationError for an engine whose configuration is one file of the machine */
export function refuseParts(parts: number, { name }: { readonly name: string }): void {
  if (parts === 1 || name !== 'mindie') return;
  throw new ConfigurationError(
    `groups_per_node = ${parts}: MindIE has one configuration on a machine`,
    {},
    { remedy: 'Use groups_per_node = 1 with MindIE.' },
  );
}
