import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { trialId } from '../../src/base/units.ts';
import { NodeConfig, ServiceGroupConfig } from '../../src/config/parallel-config.ts';
import { sglangEngine } from '../../src/engines/sglang/sglang.ts';
import { vllmEngine } from '../../src/engines/vllm/vllm.ts';
import type { Engine, LaunchPlan } from '../../src/parallel/ports.ts';
import { topologyOf } from '../../src/parallel/topology.ts';
import { quote } from '../../src/remote/quote.ts';
import { deploymentFiles } from '../../src/runs/deployment.ts';
import { launchScript } from '../../src/runs/launch-script.ts';

interface Manifest {
  readonly kind: string;
  readonly data?: Record<string, string>;
  readonly spec?: Record<string, unknown>;
}

interface Start {
  readonly program: string;
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Programs that say how they were started, and stay while they are told to. */
function standIns(): string {
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-deployment-'));
  const tell = `process.stdout.write(JSON.stringify({ program: require('node:path').basename(process.argv[1]), words: process.argv.slice(2), env: process.env }) + '\\n'); require('node:fs').writeFileSync(process.argv[1] + '.told', '');`;
  for (const name of ['vllm', 'ray', 'python3']) {
    const body = `#!${process.execPath}\n${tell}\nif (process.argv.includes('--block')) setInterval(() => {}, 1000);\n`;
    writeFileSync(join(directory, name), body, { mode: 0o755 });
  }
  return directory;
}

function made(engine: Engine, table: object, hosts: readonly string[], params = {}) {
  const settings = new ServiceGroupConfig({
    group_id: 0,
    nodes: hosts.map(
      (host) =>
        new NodeConfig({
          ...{ host, work_dir: '/nowhere', device_type: 'gpu', npu_ids: [0, 1, 2, 3], interface: 'bond0' },
        }),
    ),
    env: { HF_TOKEN: 'hf_secret', MODE: "it's" },
  });
  const topology = topologyOf(settings, { runId: 'r', trialId: trialId(7), start: 0, sharesPaths: false });
  const config = engine.config.parse(table);
  const plan = engine.plan(config, params, topology);
  const needs = engine.needs?.(config) ?? {};
  const files = deploymentFiles({ engine: engine.name, plan, topology, needs, document: {}, quote });
  return { plan, hosts, files };
}

const manifests = (text: string): Manifest[] => parseAllDocuments(text).map((one) => one.toJS() as Manifest);

function start(script: string, rank: number, more: Record<string, string>): Start[] {
  const directory = standIns();
  const file = join(directory, 'launch.sh');
  writeFileSync(file, script);
  const env = { PATH: `${directory}:${process.env['PATH'] ?? ''}`, HF_TOKEN: 'from outside', ...more };
  const said = execFileSync('sh', [file, String(rank)], { env, encoding: 'utf8', timeout: 20_000 });
  return said
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Start);
}

const pod = { LWS_LEADER_ADDRESS: 'leader.lws', POD_IP: '10.9.8.7' };
const vllm = {
  command: { model: '/models/Q3', served_model_name: 'q3' },
  executable: ['/opt/venv/bin/vllm'],
};

describe('the recommendation as a service', () => {
  test('vLLM on one node: a Deployment with its devices, its model and its probes', () => {
    const { files } = made(vllmEngine, vllm, ['10.0.0.1'], { MAX_NUM_SEQS: 99 });
    const [config, workload, service] = manifests(files['kubernetes.yaml']!);
    expect([config!.kind, workload!.kind, service!.kind]).toEqual(['ConfigMap', 'Deployment', 'Service']);
    expect(JSON.stringify(workload)).toContain('{"limits":{"nvidia.com/gpu":4}}');
    expect(JSON.stringify(workload)).toContain('{"name":"model","hostPath":{"path":"/models/Q3"}}');
    expect(JSON.stringify(workload)).toContain('"startupProbe":{"httpGet":{"path":"/health","port":8000}');
    expect(JSON.stringify(service)).toContain('"targetPort":8000');
    const [served] = start(config!.data!['launch.sh']!, 0, pod);
    expect(served!.program).toBe('vllm');
    expect(served!.words.join(' ')).toMatch(/^serve \/models\/Q3 .*--max-num-seqs 99/);
    // Devices are the cluster's to give, secrets come from outside, and what only measuring needs stays away.
    expect(served!.env).toMatchObject({ HF_TOKEN: 'from outside', MODE: "it's" });
    for (const name of ['CUDA_VISIBLE_DEVICES', 'VLLM_SERVER_DEV_MODE', 'OPTIMIZER_TRIAL_ID']) {
      expect(served!.env).not.toHaveProperty(name);
    }
    expect(JSON.stringify(files)).not.toContain('hf_secret');
  });

  const several: [string, Engine, object, RegExp][] = [
    ['vLLM', vllmEngine, { ...vllm, distributed: 'mp' }, /--master-addr leader\.lws /],
    [
      'SGLang',
      sglangEngine,
      { command: { model: '/models/Q3', served_model_name: '' } },
      /--dist-init-addr leader\.lws:\d+/,
    ],
  ];
  test.each(several)('%s on three nodes: one script for all ranks', (_, engine, table, leader) => {
    const { files } = made(engine, table, ['10.0.0.1', '10.0.0.12', '10.0.0.13']);
    const [config, workload] = manifests(files['kubernetes.yaml']!);
    expect(workload!.kind).toBe('LeaderWorkerSet');
    expect(workload!.spec!['leaderWorkerTemplate']).toMatchObject({ size: 3 });
    expect(JSON.stringify(workload)).toContain('["sh","/launch/launch.sh","$(LWS_WORKER_INDEX)"]');
    const script = config!.data!['launch.sh']!;
    expect(script).not.toMatch(/10\.0\.0\.|bond0|\/nowhere/);
    for (const rank of [0, 1, 2]) {
      const [one] = start(script, rank, pod);
      expect(one!.words.join(' ')).toMatch(leader);
      expect(one!.words.join(' ')).toMatch(new RegExp(`--node-rank ${rank}`));
    }
    if (engine === vllmEngine) expect(start(script, 2, pod)[0]!.env['VLLM_HOST_IP']).toBe('10.9.8.7');
  });

  test('with Ray, the head runs beside the service, which waits for all nodes, and ends with it', () => {
    const { plan, hosts } = made(vllmEngine, { ...vllm, distributed: 'ray', executable: ['vllm'] }, [
      'a',
      'b',
    ]);
    const script = launchScript({ plan: onlyHere(plan), hosts, quote });
    expect(script).toMatch(/^# .*In this order:\n# {3}on a: sh launch\.sh 0\n# {3}on b: sh launch\.sh 1\n#/m);
    const started = start(script, 0, {});
    expect(started.map(({ program }) => program).sort()).toEqual(['ray', 'vllm']);
  });

  test('a unit, an instance a node, in which systemd finds nothing wrong', (context) => {
    const { files } = made(vllmEngine, { ...vllm, distributed: 'mp' }, ['a', 'b']);
    const unit = files['service@.service']!;
    expect(unit).toContain('#   on b: systemctl enable --now vllm@1');
    expect(unit).toMatch(/^ExecStart=\/bin\/sh \/usr\/local\/lib\/vllm-launch\.sh %i$/m);
    const file = join(mkdtempSync(join(tmpdir(), 'optimizer-unit-')), 'vllm@.service');
    writeFileSync(file, unit);
    const { error, status, stderr } = spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' });
    if (error !== undefined) return context.skip('there is no systemd here');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  test('none for what has no image of its own', () => {
    expect(deploymentFiles({ ...made(vllmEngine, vllm, ['a']), ...script })).toEqual({});
  });
});

const script = {
  ...{ engine: 'script', document: {}, needs: {}, quote },
  topology: topologyOf(new ServiceGroupConfig({ group_id: 0, nodes: [new NodeConfig({ host: 'a' })] }), {
    ...{ runId: 'r', trialId: trialId(0), start: 0, sharesPaths: false },
  }),
};

/** In directories that are there, and with a cluster that is complete when its head has spoken. */
function onlyHere(plan: LaunchPlan): LaunchPlan {
  return {
    ...plan,
    stages: plan.stages.map((stage) => ({
      ...stage,
      processes: stage.processes.map((one) => ({ ...one, command: { ...one.command, cwd: '/' } })),
      until:
        stage.until.kind === 'command'
          ? { ...stage.until, command: { argv: ['sh', '-c', 'test -e "$(command -v ray).told"'] as const } }
          : stage.until,
    })),
  };
}
