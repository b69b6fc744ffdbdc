import { posix } from 'node:path';
import type { Ms } from '../../base/units.ts';
import { inUrl } from '../place.ts';
import type { Command, GroupTopology, PlannedProcess, Stage, TopologyNode } from '../../parallel/ports.ts';

type Environment = (node: TopologyNode) => Record<string, string>;

/** Ray knows NVIDIA devices by itself; others are a resource that the nodes declare. */
function devices({ deviceType, deviceIds }: TopologyNode): string[] {
  const count = deviceIds.length;
  if (deviceType === 'npu') return ['--num-gpus', '0', '--resources', JSON.stringify({ NPU: count })];
  return ['--num-gpus', String(deviceType === 'gpu' ? count : 0)];
}

const place = ({ address }: TopologyNode, port: number): string => `${inUrl(address)}:${port}`;

/** Ray is where vLLM is. */
export function rayOf([vllm = 'vllm']: readonly string[]): string {
  return vllm.includes('/') ? posix.join(posix.dirname(vllm), 'ray') : 'ray';
}

/** Succeeds when `ray status` shows all nodes and, where there are any, all devices. */
function complete({ nodes, masterPort }: GroupTopology, ray: string, env: Record<string, string>): Command {
  const [head] = nodes as [TopologyNode, ...TopologyNode[]];
  const wanted =
    head.deviceType === 'none' ? 0 : nodes.reduce((sum, { deviceIds }) => sum + deviceIds.length, 0);
  const program = `
    /^(Active|Idle):/ { counting = 1; next }
    /^[A-Z]/ { counting = 0 }
    counting && $1 ~ /^[0-9]+$/ { nodes += $1 }
    $2 ~ /^(GPU|NPU)$/ { split($1, part, "/"); devices += part[2] }
    END { exit !(nodes >= ${nodes.length} && devices >= ${wanted}) }`;
  return {
    argv: ['sh', '-c', `"$1" status --address "$2" | awk '${program}'`, 'sh', ray, place(head, masterPort)],
    label: 'ray status',
    cwd: head.workDir,
    env,
  };
}

/** The head, then the workers, then nothing until all nodes and devices are there. */
export function rayStages(
  topology: GroupTopology,
  ray: string,
  environment: Environment,
  timeout: Ms,
): Stage[] {
  const { nodes, masterPort } = topology;
  const [head, ...workers] = nodes as [TopologyNode, ...TopologyNode[]];
  const process = (node: TopologyNode, role: string, ...more: string[]): PlannedProcess => ({
    rank: node.rank,
    role,
    command: {
      argv: [ray, 'start', ...more, '--node-ip-address', node.address, ...devices(node), '--block'],
      cwd: node.workDir,
      env: environment(node),
    },
  });
  const settings = ['--disable-usage-stats', '--include-dashboard', 'false'];
  return [
    {
      processes: [process(head, 'ray-head', '--head', '--port', String(masterPort), ...settings)],
      until: { kind: 'port', rank: 0, port: masterPort },
      timeout,
    },
    {
      processes: workers.map((node) =>
        process(node, 'ray-worker', '--address', place(head, masterPort), '--disable-usage-stats'),
      ),
      until: { kind: 'command', rank: 0, command: complete(topology, ray, environment(head)) },
      timeout,
    },
  ];
}
