import { groupId, type TrialId } from '../base/units.ts';
import { defaultConfigPath, type ServiceGroupConfig } from '../config/parallel-config.ts';
import type { Executor, GroupTopology, NodeFacts } from './ports.ts';

/** A connected machine of a group. */
export interface Node {
  readonly executor: Executor;
  readonly facts: NodeFacts;
}

/** What stays known of a machine when its connection is closed. */
export type KnownNode = Pick<Node, 'facts'> & { readonly executor: Pick<Executor, 'address'> };

const portsPerGroup = 48;
/** For rendezvous, RPC and the like; the next start takes the next ones, so that none is in TIME_WAIT. */
export const portsPerStart = 4;

/** `path` with the group and rank in it, before its extension. */
function ownPath(path: string, group: number, rank: number, needed: boolean): string {
  if (path.includes('{group_id}') || path.includes('{rank}')) {
    return path.replaceAll('{group_id}', String(group)).replaceAll('{rank}', String(rank));
  }
  if (!needed) return path;
  return path.replace(/(\.[^./]*)?$/, (extension) => `.g${group}.r${rank}${extension}`);
}

/** What a plan sees of the group; without facts (nothing connected yet) with the configured values. */
export function topologyOf(
  config: ServiceGroupConfig,
  run: { runId: string; trialId: TrialId; start: number; sharesPaths: boolean; runtime?: string },
  nodes?: readonly KnownNode[],
): GroupTopology {
  const id = config.group_id;
  // A directory of somebody else may be where the default is: the work directory has been looked at.
  const pathIn = (workDir: string): string =>
    config.config_path === defaultConfigPath ? `${workDir}/config.json` : config.config_path;
  const slot = ((id % 250) + 250) % 250;
  return {
    runId: run.runId,
    trialId: run.trialId,
    groupId: groupId(id),
    masterPort: 20_000 + slot * portsPerGroup + ((run.start * portsPerStart) % portsPerGroup),
    settings: config,
    runtime: run.runtime ?? 'host',
    nodes: config.nodes.map((node, rank) => {
      const workDir = nodes?.[rank]?.facts.workDir ?? node.work_dir;
      return {
        rank,
        host: node.host,
        address: nodes?.[rank]?.executor.address ?? node.host,
        deviceIds: node.npu_ids,
        deviceType: nodes?.[rank]?.facts.deviceType ?? node.device_type ?? 'npu',
        workDir,
        env: { ...config.env, ...node.env },
        interface: node.interface,
        inspected: nodes?.[rank]?.facts.inspected,
        configPath: ownPath(pathIn(workDir), id, rank, run.sharesPaths),
      };
    }),
  };
}
