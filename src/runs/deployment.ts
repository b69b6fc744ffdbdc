import { posix } from 'node:path';
import { stringify } from 'yaml';
import type {
  Command,
  EngineNeeds,
  GroupTopology,
  LaunchPlan,
  PlannedProcess,
  TopologyNode,
} from '../parallel/ports.ts';
import { launchScript } from './launch-script.ts';

/**
 * The recommendation as what keeps services running takes it: a systemd unit, an instance a node, and manifests for
 * Kubernetes, where several nodes are a LeaderWorkerSet. Both run the launch script, so that they start what was
 * measured.
 */

export interface Deployment {
  readonly engine: string;
  readonly plan: LaunchPlan;
  readonly topology: GroupTopology;
  /** Its executable and model, as the run had them. */
  readonly needs: EngineNeeds;
  readonly document: Readonly<Record<string, unknown>>;
  readonly quote: (word: string) => string;
}

/** Of those whose images are published. */
const images: Readonly<Record<string, string>> = {
  vllm: 'vllm/vllm-openai',
  sglang: 'lmsysorg/sglang',
};

const resources: Readonly<Record<TopologyNode['deviceType'], string | undefined>> = {
  gpu: 'nvidia.com/gpu',
  npu: 'huawei.com/Ascend910',
  none: undefined,
};

/** What the nodes of the run are in a plan, and a pod finds out by itself. */
const hostsOwn = /VISIBLE_DEVICES$|_SOCKET_IFNAME$|^HCCL_IF_IP$/;

/**
 * In a pod: its own devices, interfaces and address, no directory of a node, programs from the PATH of the image.
 */
function inPods({ stages, probe, ...rest }: LaunchPlan, { executable = [] }: EngineNeeds): LaunchPlan {
  const [program = ''] = executable;
  const directory = `${posix.dirname(program)}/`;
  const onPath = (word: string): string =>
    posix.isAbsolute(program) && word.startsWith(directory) ? word.slice(directory.length) : word;
  const stripped = <T extends Pick<PlannedProcess, 'command'>>(one: T): T => {
    const { argv, env = {}, stdin } = one.command;
    const words = argv.map((word, i) => (argv[i - 1] === '--host' ? '0.0.0.0' : onPath(word)));
    const kept = Object.entries(env).filter(([name]) => !hostsOwn.test(name));
    const command: Command = {
      argv: words as [string, ...string[]],
      env: Object.fromEntries(kept),
      ...(stdin === undefined ? {} : { stdin }),
    };
    return { ...one, command };
  };
  const url = new URL(probe.url);
  url.hostname = 'localhost';
  return {
    ...rest,
    probe: { ...probe, url: url.href },
    stages: stages.map(({ processes, until, timeout }) => ({
      processes: processes.map(stripped),
      until: until.kind === 'command' ? stripped(until) : until,
      timeout,
    })),
  };
}

/** Addresses of the run's nodes become those of the pods; everything else is quoted as before. */
function podQuote({ nodes }: GroupTopology, quote: Deployment['quote']): Deployment['quote'] {
  const variables = nodes.map(({ address, rank }) => ({
    address,
    variable: rank === 0 ? '"$LWS_LEADER_ADDRESS"' : '"$POD_IP"',
  }));
  const escaped = variables.map(({ address }) => address.replaceAll(/[.[\]]/g, '\\$&'));
  // Whole addresses alone: 10.0.0.1 is no part of 10.0.0.12, nor node1 of node1-data.
  const one = new RegExp(`(?<![\\w.-])(${escaped.join('|')})(?![\\w-]|\\.\\w)`);
  return (word) => {
    const parts = word.split(one);
    if (parts.length === 1) return quote(word);
    const variableOf = (part: string): string | undefined =>
      variables.find(({ address }) => address === part)?.variable;
    return parts
      .filter((part) => part !== '')
      .map((part) => variableOf(part) ?? quote(part))
      .join('');
  };
}

function systemdUnit({ engine, topology }: Deployment): string {
  const order = topology.nodes.map(
    ({ host, rank }) => `#   on ${host}: systemctl enable --now ${engine}@${rank}\n`,
  );
  return `# The recommended configuration as a service of systemd; its instance is the rank of the node.
#   cp launch.sh /usr/local/lib/${engine}-launch.sh
#   cp service@.service /etc/systemd/system/${engine}@.service
${order.join('')}# Secrets such as HF_TOKEN, and the PATH of ${engine}, belong into /etc/default/${engine}.
[Unit]
Description=${engine}, node %i of the recommended configuration
Wants=network-online.target
After=network-online.target

[Service]
EnvironmentFile=-/etc/default/${engine}
ExecStart=/bin/sh /usr/local/lib/${engine}-launch.sh %i
Restart=on-failure
RestartSec=10
TimeoutStopSec=120
LimitNOFILE=1048576
LimitMEMLOCK=infinity

[Install]
WantedBy=multi-user.target
`;
}

function kubernetes(deployment: Deployment): string {
  const { engine, plan, topology, needs, document, quote } = deployment;
  const [head] = topology.nodes;
  const { port: portText, pathname: path } = new URL(plan.probe.url);
  const port = Number(portText || 80);
  const name = `${engine}-tuned`;
  const labels = { app: name };
  const alone = topology.nodes.length === 1;
  const script = launchScript({
    plan: inPods(plan, needs),
    hosts: topology.nodes.map(({ rank }) => (rank === 0 ? 'the leader' : `worker ${rank}`)),
    quote: alone ? quote : podQuote(topology, quote),
  });
  const device = head === undefined ? undefined : resources[head.deviceType];
  const runtime = document['runtime'] as { readonly image?: string } | undefined;
  const probe = { httpGet: { path, port } };
  const minutes = Math.ceil(topology.settings.health_check_timeout / 60);
  const model = needs.model?.startsWith('/') === true ? needs.model : undefined;
  const container = (rank: string): object => ({
    name: engine,
    image: runtime?.image ?? `${images[engine]}:latest`,
    command: ['sh', '/launch/launch.sh', rank],
    env: [{ name: 'POD_IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
    ...(rank === '0'
      ? {
          ports: [{ containerPort: port }],
          startupProbe: { ...probe, periodSeconds: 10, failureThreshold: 6 * minutes },
          readinessProbe: { ...probe, periodSeconds: 10 },
        }
      : {}),
    ...(device === undefined ? {} : { resources: { limits: { [device]: head?.deviceIds.length } } }),
    volumeMounts: [
      { name: 'launch', mountPath: '/launch' },
      { name: 'shm', mountPath: '/dev/shm' },
      ...(model === undefined ? [] : [{ name: 'model', mountPath: model, readOnly: true }]),
    ],
  });
  const template = (rank: string, own: Record<string, string>): object => ({
    metadata: { labels: own },
    spec: {
      containers: [container(rank)],
      volumes: [
        { name: 'launch', configMap: { name } },
        { name: 'shm', emptyDir: { medium: 'Memory' } },
        ...(model === undefined ? [] : [{ name: 'model', hostPath: { path: model } }]),
      ],
    },
  });
  const workload = alone
    ? {
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name },
        // Two of them at the same time would need twice the devices.
        spec: {
          replicas: 1,
          strategy: { type: 'Recreate' },
          selector: { matchLabels: labels },
          template: template('0', labels),
        },
      }
    : {
        apiVersion: 'leaderworkerset.x-k8s.io/v1',
        kind: 'LeaderWorkerSet',
        metadata: { name },
        spec: {
          replicas: 1,
          leaderWorkerTemplate: {
            size: topology.nodes.length,
            restartPolicy: 'RecreateGroupOnPodRestart',
            leaderTemplate: template('0', labels),
            workerTemplate: template('$(LWS_WORKER_INDEX)', { app: `${name}-worker` }),
          },
        },
      };
  const config = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { 'launch.sh': script } };
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { selector: labels, ports: [{ name: 'http', port, targetPort: port }] },
  };
  const image = runtime?.image === undefined ? ` Pin the image to the version that was measured.` : '';
  const operator = alone ? '' : ' Several nodes need LeaderWorkerSet (lws.sigs.k8s.io).';
  return [
    `# The recommended configuration for Kubernetes: kubectl apply -f kubernetes.yaml\n#${image}${operator} Secrets and the place of the model are yours to add.\n`,
    ...[config, workload, service].map((one) => `---\n${stringify(one, { lineWidth: 0 })}`),
  ].join('');
}

/** By file name; none for an engine without a published image. */
export function deploymentFiles(deployment: Deployment): Record<string, string> {
  if (images[deployment.engine] === undefined) return {};
  return { 'service@.service': systemdUnit(deployment), 'kubernetes.yaml': kubernetes(deployment) };
}
