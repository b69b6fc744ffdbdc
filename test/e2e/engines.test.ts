import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EngineProject, type EngineProjectOptions } from '../support/engine-project.ts';
import { realPodman, type RealPodman } from '../support/podman.ts';
import { waitFor } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';

const field = (engine: string, name: string, min: number, max: number, value: number, more = ''): string => `
[[${engine}.target_field]]
name = "${name}"
config_position = "env"
min = ${min}
max = ${max}
dtype = "int"
value = ${value}
${more}`;

const load = (engine: string): string => field(engine, 'CONCURRENCY', 2, 8, 4);

const vllm = (more: string, benchmark = ''): string => `
engine = "vllm"
${benchmark}
[vllm]
${more}
[vllm.command]
model = "/models/demo"
served_model_name = "sim-moe-235b"
port = "8123"
others = "--trust-remote-code --max-model-len 2048"
${field('vllm', 'MAX_NUM_SEQS', 8, 64, 16)}
${field('vllm', 'MAX_NUM_BATCHED_TOKENS', 256, 2048, 512)}
${load('vllm')}
[builtin]
num_prompts = 12
num_warmups = 2
input_len = 16
output_len = 8
[vllm_benchmark.command]
num_prompts = 10
`;

describe.skipIf(!realSshd.available)(
  'engines over real sshd, each by a stand-in that knows its flags',
  () => {
    let cluster: SshdCluster;
    beforeAll(async () => {
      cluster = await realSshd.start(2);
    });
    afterAll(async () => cluster[Symbol.asyncDispose]());

    /** A run to its end, with nothing left running. */
    async function run(options: EngineProjectOptions, code = 0): Promise<EngineProject> {
      const project = new EngineProject(cluster, {
        ...options,
      });
      const finished = await project.run();
      project.said = finished.stderr;
      expect(finished.code, finished.stderr.slice(-1500) + finished.stdout.slice(-1500)).toBe(code);
      expect(project.left()).toEqual([]);
      return project;
    }

    test('vllm over two nodes by multiprocessing, measured by vllm bench serve on the master', async () => {
      await using project = await run({ toml: vllm('distributed = "mp"', 'benchmark = "vllm_benchmark"') });
      const summary = project.summary();
      expect(summary).toMatchObject({ status: 'completed', engine: 'vllm', benchmark: 'vllm_benchmark' });
      const starts = project.tools('vllm serve');
      const heads = starts.filter(({ given }) => given['--headless'] === undefined);
      expect(heads).toHaveLength(3);
      expect(starts).toHaveLength(6);
      const hosts = cluster.hosts.map(({ address }) => address);
      for (const head of heads) {
        expect(head.given).toMatchObject({
          '--nnodes': '2',
          '--node-rank': '0',
          '--master-addr': hosts[0],
          '--distributed-executor-backend': 'mp',
          '--tensor-parallel-size': '4',
          '--pipeline-parallel-size': '2',
        });
        const worker = starts.find(
          ({ given }) =>
            given['--node-rank'] === '1' && given['--master-port'] === head.given['--master-port'],
        );
        expect(worker?.env).toMatchObject({ VLLM_HOST_IP: hosts[1], ASCEND_RT_VISIBLE_DEVICES: '0,1,2,3' });
        expect(worker?.given['--max-num-seqs']).toBe(head.given['--max-num-seqs']);
      }
      const bench = project.tools('vllm bench serve');
      expect(bench).toHaveLength(3);
      expect(bench[0]?.given).toMatchObject({
        '--host': hosts[0],
        '--port': '8123',
        '--num-prompts': '10',
        '--served-model-name': 'sim-moe-235b',
        '--max-concurrency': '4',
      });
      expect(existsSync(join(project.runDirectory, 'trials/0/vllm_benchmark.log'))).toBe(true);
      const told = project.journal().flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
      for (const { verdict } of told) {
        expect(verdict).toMatchObject({
          kind: 'scored',
          effects: { MAX_NUM_SEQS: { kind: 'as_asked' }, CONCURRENCY: { kind: 'unknown' } },
          engine_version: '0.11.2',
        });
      }
      const page = readFileSync(join(project.runDirectory, 'report.html'), 'utf8');
      expect(page).toMatch(/<dt>engine version<\/dt>\s*<dd>0\.11\.2<\/dd>/);
    });

    test('vllm over two nodes by Ray: head, workers, all devices, then the server', async () => {
      await using project = await run({ toml: vllm('distributed = "ray"') });
      const order = project.tools().map(({ tool }) => tool);
      expect(order.slice(0, 3)).toEqual(['ray start', 'ray start', 'vllm serve']);
      const [head, worker] = project.tools('ray start');
      expect(head?.given).toMatchObject({ '--head': true, '--resources': '{"NPU":4}' });
      expect(worker?.given['--address']).toBe(
        `${cluster.hosts[0]?.address}:${String(head?.given['--port'])}`,
      );
      expect(worker?.env).toMatchObject({ RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES: '1' });
      const server = project.tools('vllm serve')[0];
      expect(server?.given).toMatchObject({ '--distributed-executor-backend': 'ray' });
      expect(server?.given['--nnodes']).toBeUndefined();
    });

    test('vllm with replicas of the attention over two nodes, experts over all of them', async () => {
      await using project = await run({
        toml: vllm('distributed = "dp"\nexperts = true'),
      });
      const [first, second] = project.tools('vllm serve');
      const [worker, head] = first?.given['--headless'] === true ? [first, second] : [second, first];
      const shared = {
        '--data-parallel-size': '2',
        '--data-parallel-size-local': '1',
        '--enable-expert-parallel': true,
      };
      expect(head?.given).toMatchObject({ ...shared, '--data-parallel-address': cluster.hosts[0]?.address });
      expect(worker?.given).toMatchObject({ ...shared, '--data-parallel-start-rank': '1' });
    });

    test('a version of vllm without --nnodes is found out before anything is started', async () => {
      const toml = vllm('distributed = "mp"');
      await using project = await run({ toml, env: { STANDIN_WITHOUT_FLAG: '--nnodes' } }, 2);
      expect(project.tools('vllm serve')).toEqual([]);
      expect(project.said).toContain('distributed = "ray"');
    });

    test('an argument that this version does not know stops the run with the line', async () => {
      const toml = vllm('distributed = "mp"').replace('--trust-remote-code', '--trust-remote-coed');
      await using project = await run({ toml }, 3);
      expect(project.summary().error?.message).toContain('unrecognized arguments: --trust-remote-coed');
    });

    test('a fatal line ends the start although the process hangs, and the search goes on', async () => {
      const toml = vllm('distributed = "mp"').replace('min = 8\nmax = 64', 'min = 16\nmax = 18');
      await using project = await run({ toml, particles: 6, env: { STANDIN_FAIL: 17 } });
      const told = project.journal().flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
      const failed = told.filter(({ verdict }) => verdict.kind === 'infeasible');
      expect(failed.length).toBeGreaterThan(0);
      for (const { verdict, start_s: seconds } of failed) {
        expect(seconds).toBeLessThan(10);
        expect(verdict.kind === 'infeasible' && verdict.error.message).toContain('CUDA out of memory');
      }
    });

    test('a value that the engine adjusts is recorded as what it really was', async () => {
      await using project = await run({ toml: vllm('distributed = "mp"'), env: { STANDIN_ADJUST: 16 } });
      const told = project.journal().flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
      expect(told[0]?.verdict).toMatchObject({
        effects: { MAX_NUM_SEQS: { kind: 'adjusted', effective: 17 } },
      });
    });

    test('sglang over two nodes, measured by its own benchmark', async () => {
      await using project = await run({
        toml: `
engine = "sglang"
benchmark = "sglang_benchmark"
[sglang.command]
model = "/models/demo"
served_model_name = "sim-moe-235b"
port = "30123"
${field('sglang', 'MAX_RUNNING_REQUESTS', 8, 64, 16)}
${load('sglang')}
[sglang_benchmark.command]
num_prompts = 10
`,
      });
      const starts = project.tools('sglang.launch_server');
      expect(starts).toHaveLength(6);
      const worker = starts.find(({ given }) => given['--node-rank'] === '1');
      expect(worker?.given).toMatchObject({
        '--nnodes': '2',
        '--tensor-parallel-size': '4',
        '--pipeline-parallel-size': '2',
      });
      const head = starts.find(({ given }) => given['--node-rank'] === '0');
      expect(head?.given['--dist-init-addr']).toBe(worker?.given['--dist-init-addr']);
      const told = project.journal().flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
      expect(told[0]?.verdict).toMatchObject({
        effects: { MAX_RUNNING_REQUESTS: { kind: 'as_asked' } },
        engine_version: '0.5.0',
      });
      expect(project.tools('sglang.bench_serving')[0]?.given).toMatchObject({ '--num-prompts': '10' });
    });

    const mindieConfig = (port: number): object => ({
      Version: '1.0.0',
      ServerConfig: {
        ipAddress: '127.0.0.1',
        managementIpAddress: '127.0.0.2',
        port,
        managementPort: port + 1,
        httpsEnabled: true,
        maxLinkNum: 1000,
      },
      BackendConfig: {
        npuDeviceIds: [[0, 1, 2, 3]],
        multiNodesInferEnabled: false,
        interNodeTLSEnabled: true,
        ModelDeployConfig: {
          maxSeqLen: 2560,
          ModelConfig: [{ modelName: 'demo', modelWeightPath: '/models/demo', worldSize: 4, npuMemSize: -1 }],
        },
        ScheduleConfig: { maxBatchSize: 20, maxPrefillTokens: 512, cacheBlockSize: 128 },
      },
    });
    const mindie = (more: string): string => `
engine = "mindie"
benchmark = "ais_bench"
[mindie]
${more}
[[mindie.target_field]]
name = "max_batch_size"
config_position = "BackendConfig.ScheduleConfig.maxBatchSize"
min = 8
max = 64
dtype = "int"
value = 0
${load('mindie')}
[ais_bench]
model_config = "MODEL_PY"
[ais_bench.command]
num_prompts = 10
`;
    function withMindie(project: EngineProject, port: number): void {
      const models =
        'request_rate = 0,\nbatch_size = 1, # at most\nhost_ip = "localhost",\nhost_port = 8080,\n';
      writeFileSync(join(project.directory, 'model.py'), models);
      mkdirSync(join(project.directory, 'mies/conf'), { recursive: true });
      writeFileSync(join(project.directory, 'mies/conf/config.json'), JSON.stringify(mindieConfig(port)), {
        mode: 0o640,
      });
      const file = join(project.directory, 'config.toml');
      const here = (text: string): string => text.replaceAll('MIES_HERE', join(project.directory, 'mies'));
      writeFileSync(
        file,
        here(readFileSync(file, 'utf8')).replaceAll('MODEL_PY', join(project.directory, 'model.py')),
      );
    }

    test('mindie over two nodes: on top of its configuration, with a rank table, measured by ais_bench', async () => {
      await using project = new EngineProject(cluster, {
        toml: mindie(''),
        env: { MIES_INSTALL_PATH: 'MIES_HERE', STANDIN_MODEL_CONFIG: 'MODEL_PY' },
      });
      withMindie(project, 10_250);
      const before = readFileSync(join(project.directory, 'mies/conf/config.json'), 'utf8');
      const finished = await project.run();
      expect(finished.code, finished.stderr.slice(-1500) + finished.stdout.slice(-500)).toBe(0);
      expect(project.left()).toEqual([]);
      expect(readFileSync(join(project.directory, 'mies/conf/config.json'), 'utf8')).toBe(before);
      const [worker, master] = project.tools('mindie_llm_server');
      const hosts = cluster.hosts.map(({ address }) => address);
      expect(
        [worker, master]
          .map((one) => (one?.['config'] as { ServerConfig: { ipAddress: string } }).ServerConfig.ipAddress)
          .sort(),
      ).toEqual([...hosts].sort());
      expect(master?.['config']).toMatchObject({
        ServerConfig: { httpsEnabled: false, maxLinkNum: 1000, port: 10_250 },
        BackendConfig: {
          multiNodesInferEnabled: true,
          interNodeTLSEnabled: false,
          ModelDeployConfig: { maxSeqLen: 2560 },
          ScheduleConfig: { maxBatchSize: 20, cacheBlockSize: 128 }, // the present one comes from the node
        },
      });
      expect(master?.['mode']).toBe('640');
      expect(master?.env).toMatchObject({ MASTER_IP: hosts[0] });
      const bench = project.tools('ais_bench');
      expect(bench).toHaveLength(3);
      expect(bench[0]?.['load']).toEqual({ rate: '0', batch: '4' });
      expect(readFileSync(join(project.directory, 'model.py'), 'utf8')).toContain(
        'batch_size = 1, # at most',
      );
      expect(project.summary().baseline?.params).toMatchObject({ max_batch_size: 20 });
    });

    test('an older mindie has its configuration edited and put back, also after a crash', async () => {
      await using project = new EngineProject(cluster, {
        toml: mindie(''),
        nodesPerGroup: 1,
        without: ['mindie_llm_server'],
        env: {
          MIES_INSTALL_PATH: 'MIES_HERE',
          STANDIN_MODEL_CONFIG: 'MODEL_PY',
          STANDIN_MINDIE_CONFIG: 'MIES_HERE/conf/config.json',
        },
      });
      withMindie(project, 10_260);
      const conf = join(project.directory, 'mies/conf/config.json');
      const before = readFileSync(conf, 'utf8');
      mkdirSync(join(project.directory, 'mies/bin'));
      writeFileSync(
        join(project.directory, 'mies/bin/mindieservice_daemon'),
        project.scriptOf('mindieservice_daemon'),
        { mode: 0o755 },
      );
      // One node: two would edit the same file of this machine.
      writeFileSync(join(project.directory, 'hosts.txt'), `${cluster.hosts[0]?.address}\n`);
      // As a crash would have left it.
      writeFileSync(`${conf}.optimizer-original`, before, { mode: 0o640 });
      writeFileSync(conf, '{"garbage": true}');
      const finished = await project.run();
      expect(finished.code, finished.stderr.slice(-1500) + finished.stdout.slice(-500)).toBe(0);
      expect(readFileSync(conf, 'utf8')).toBe(before);
      expect(existsSync(`${conf}.optimizer-original`)).toBe(false);
      // Whoever does not start another run has `clean` for it.
      writeFileSync(`${conf}.optimizer-original`, before, { mode: 0o640 });
      writeFileSync(conf, '{"garbage": true}');
      const cleaned = await project.run(['clean', ...project.args]);
      expect(cleaned.stdout, cleaned.stderr).toContain(`: ${conf}`);
      expect(readFileSync(conf, 'utf8')).toBe(before);
      const sizes = project
        .tools('mindieservice_daemon')
        .map(
          ({ config }) =>
            (config as { BackendConfig: { ScheduleConfig: { maxBatchSize: number } } }).BackendConfig
              .ScheduleConfig.maxBatchSize,
        );
      expect(sizes[0]).toBe(20);
      expect(new Set(sizes).size).toBe(3);
    });

    test('llama.cpp on one node a group, measured by any command that prints JSON', async () => {
      await using project = await run({
        nodesPerGroup: 1,
        toml: `
engine = "llamacpp"
benchmark = "command"
[llamacpp.command]
model = "/models/demo.gguf"
port = "8099"
context_per_slot = 512
${field('llamacpp', 'PARALLEL', 1, 16, 4)}
${load('llamacpp')}
[command]
command = "vllm bench serve --host {host} --port {port} --num-prompts {num_prompts} --max-concurrency {concurrency} --request-rate {request_rate} --result-dir . --save-result --result-filename x.json"
result = "x.json"
run_on = "master"
num_prompts = 8
[command.metrics]
generate_speed = { value = "output_throughput", unit = "tok/s" }
time_to_first_token = { value = "mean_ttft_ms", unit = "ms" }
time_per_output_token = { value = "mean_tpot_ms", unit = "ms" }
success_rate = { value = "completed / (completed + failed)", unit = "share" }
throughput = { value = "request_throughput", unit = "req/s" }
[command.percentiles]
p99_ttft_ms = "p99_ttft_ms"
`,
      });
      const start = project.tools('llama-server').find(({ given }) => given['--parallel'] === '4');
      expect(start?.given).toMatchObject({ '--fit': 'off', '--parallel': '4', '--ctx-size': '2048' });
      const [bench] = project.tools('vllm bench serve');
      expect(bench?.argv.join(' ')).not.toContain('request-rate');
      expect(project.summary().best?.performance.percentiles['ttft_ms']).toMatchObject({
        p99: expect.any(Number) as number,
      });
    });

    const inContainers = (kind: string): string => `${vllm('distributed = "mp"')}
[runtime]
kind = "${kind}"
image = "registry.local/vllm:0.16"
args = ["--privileged"]
`;

    test.each(['docker', 'podman'])(
      'vllm over two nodes in containers of %s, labelled and gone at the end',
      async (kind) => {
        await using project = await run({ toml: inContainers(kind) });
        const { run_id: runId } = project.summary();
        const serving = project
          .tools('docker run')
          .filter(({ argv }) => argv.includes('vllm') && argv.includes('serve'));
        expect(serving.length).toBeGreaterThanOrEqual(6);
        for (const { argv } of serving) {
          expect(argv).toEqual(
            expect.arrayContaining(['--rm', '--network', 'host', '--privileged', `optimizer.run=${runId}`]),
          );
          expect(argv.join(' ')).not.toContain('VLLM_HOST_IP='); // values are not for the process list
          expect(argv).toContain('VLLM_HOST_IP');
        }
        expect(project.tools('vllm serve')[0]?.env).toMatchObject({ ASCEND_RT_VISIBLE_DEVICES: '0,1,2,3' });
      },
    );

    test('load that is made on the master of an engine in containers is made outside of them', async () => {
      const toml = inContainers('docker').replace('[builtin]', '[builtin]\nrun_on = "master"');
      await using project = await run({ toml });
      expect(project.summary().evaluations.measured).toBeGreaterThan(0);
      expect(project.tools('docker run').flatMap(({ argv }) => argv)).not.toContain('node');
    });

    /** A run in its containers, where one is there. */
    const withPodman = (podman: RealPodman): EngineProject => {
      const toml = `${vllm('distributed = "mp"')}
[runtime]
kind = "podman"
image = "${podman.image}"
args = ${JSON.stringify(podman.args)}
`;
      const parallel = 'lease_timeout = 3';
      const project = new EngineProject(cluster, { toml, parallel, particles: 2, without: ['podman'] });
      writeFileSync(join(cluster.bin, 'podman'), podman.script, { mode: 0o755 });
      return project;
    };

    test('containers of a real podman whose controller is killed are ended by their nodes', async (context) => {
      const podman = realPodman(['/tmp']);
      if (podman === undefined) return context.skip('podman does not run here');
      await using project = withPodman(podman);
      const { child, done } = project.start();
      await waitFor(() => project.tools('vllm serve').length >= 2, 'the service starts');
      const { run_id: runId } = project.journal().find((entry) => entry.type === 'run-started')!;
      const label = `optimizer.run=${runId}`;
      expect(podman.running(label)).toHaveLength(2);
      child.kill('SIGKILL');
      await done;
      await waitFor(() => podman.running(label).length === 0, 'no container', 30_000);
      await waitFor(() => project.traces().length === 0, 'no guardian', 10_000);
    });

    test('vllm over two nodes in containers of a real podman', async (context) => {
      const podman = realPodman(['/tmp']);
      if (podman === undefined) return context.skip('podman does not run here');
      await using project = withPodman(podman);
      const running = project.start();
      await waitFor(() => project.tools('vllm serve').length >= 2, 'the service starts');
      const { run_id: runId } = project.journal().find((entry) => entry.type === 'run-started')!;
      expect(podman.running(`optimizer.run=${runId}`)).toHaveLength(2);
      const finished = await running.done;
      expect(finished.code, finished.stderr.slice(-1500) + finished.stdout.slice(-1500)).toBe(0);
      expect(podman.running(`optimizer.run=${runId}`)).toEqual([]);
      expect(project.left()).toEqual([]);
      expect(project.summary().evaluations.measured).toBe(2);
    });

    test('containers whose clients and controller are gone are found by their labels and ended', async () => {
      await using project = new EngineProject(cluster, { toml: inContainers('docker') });
      const running = project.start();
      await waitFor(() => project.tools('vllm serve').length >= 2, 'the service starts');
      running.child.kill('SIGKILL');
      await running.done;
      for (const { pid } of project.tools('docker run')) {
        try {
          process.kill(pid, 'SIGKILL'); // the client, not the container
        } catch {
          // an inspection that has ended
        }
      }
      const inside = project.tools('vllm serve').map(({ pid }) => pid);
      const alive = (): number[] =>
        inside.filter(
          (pid) => existsSync(`/proc/${pid}/cmdline`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== '',
        );
      expect(alive()).toHaveLength(2);
      const cleaned = await project.run(['clean', ...project.args, '--force']);
      expect(cleaned.code, cleaned.stderr).toBe(0);
      expect(cleaned.stdout).toContain('container');
      expect(alive()).toEqual([]);
    });

    test('vllm inside a container that the user keeps up', async () => {
      const toml = `${vllm('')}
[runtime]
kind = "exec"
container = "serving"
`;
      await using project = await run({ toml, nodesPerGroup: 1 });
      const serving = project.tools('docker exec').filter(({ argv }) => argv.includes('serve'));
      expect(serving).toHaveLength(3);
      expect(serving[0]?.argv).toEqual(expect.arrayContaining(['--workdir', 'serving', 'vllm']));
    });
  },
);
