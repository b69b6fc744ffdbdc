import type { GroupShape } from '../config/parallel-config.ts';
import type { GroupTopology, TopologyNode } from '../parallel/ports.ts';

export function shapeOf({ nodes }: GroupTopology): GroupShape {
  return {
    nodes: nodes.length,
    devicesPerNode: Math.min(...nodes.map(({ deviceIds }) => deviceIds.length)),
    deviceType: nodes[0]?.deviceType,
  };
}

/** Shows the node's devices to its processes, in the variables of its vendor. */
export function deviceVariables({ deviceType, deviceIds }: TopologyNode): Record<string, string> {
  const ids = deviceIds.join(',');
  if (deviceType === 'none') return {};
  return deviceType === 'gpu'
    ? { CUDA_VISIBLE_DEVICES: ids }
    : { ASCEND_RT_VISIBLE_DEVICES: ids, ASCEND_VISIBLE_DEVICES: ids };
}

/** How the nodes of a group find each other; interfaces differ from node to node. */
export function fabricVariables({
  deviceType,
  address,
  interface: nic,
}: TopologyNode): Record<string, string> {
  const names = deviceType === 'npu' ? ['HCCL_SOCKET_IFNAME'] : ['NCCL_SOCKET_IFNAME'];
  const interfaces = [...names, 'GLOO_SOCKET_IFNAME', 'TP_SOCKET_IFNAME'];
  return {
    ...(deviceType === 'npu' ? { HCCL_IF_IP: address } : {}),
    ...(nic === undefined ? {} : Object.fromEntries(interfaces.map((name) => [name, nic]))),
  };
}
