// `main.mjs TOOL ARGS`: behaves like a tool as far as this program uses it, and refuses what the tool would refuse.
import { spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { join_, members, parse, state, until, vendor, waitForTerm, witness } from './common.mjs';
import { load, mean, quantile } from './load.mjs';
import { serve } from './server.mjs';

const [tool, ...argv] = process.argv.slice(2);
const say = (text) => process.stdout.write(`${text}\n`);

async function vllmServe(args) {
  const { flags } = vendor('vllm-serve');
  if (args.includes('--help=all')) {
    say(
      Object.keys(flags)
        .filter((name) => name !== process.env.STANDIN_WITHOUT_FLAG)
        .join('\n'),
    );
    return process.exit(0);
  }
  const { given, rest } = parse('vllm serve', flags, args);
  witness('vllm serve', args, { given, model: rest[0] });
  const backend = given['--distributed-executor-backend'];
  const [nnodes, rank] = [Number(given['--nnodes'] ?? 1), Number(given['--node-rank'] ?? 0)];
  if (nnodes > 1 && backend === 'ray') {
    say(
      'ValueError: nnodes > 1 can only be set when distributed executor backend is mp, uni or external_launcher.',
    );
    return process.exit(1);
  }
  if (given['--headless'] && Number(given['--api-server-count'] ?? 1) > 1) {
    say("ValueError: api_server_count can't be set in headless mode");
    return process.exit(1);
  }
  if (given['--headless']) {
    const replica = given['--data-parallel-start-rank'] ?? rank;
    join_(`${given['--master-port'] ?? given['--data-parallel-rpc-port']}`, replica);
    return waitForTerm();
  }
  const dp = Number(given['--data-parallel-size'] ?? 1);
  const local = Number(given['--data-parallel-size-local'] ?? dp);
  const others =
    backend === 'ray' ? 0 : nnodes > 1 ? nnodes - 1 : Math.ceil((dp - local) / Math.max(1, local));
  const key = `${given['--master-port'] ?? given['--data-parallel-rpc-port']}`;
  if (others > 0 && !(await until(() => members(key) >= others))) {
    say(
      'torch.distributed.DistStoreError: Timed out after 20 seconds waiting for clients. 1/2 clients joined',
    );
    return process.exit(1);
  }
  if (backend === 'ray' && members('ray') < 2) {
    say('ValueError: Current node has no GPU available. Placement group request: not enough nodes');
    return process.exit(1);
  }
  if (process.env.STANDIN_FAIL === String(given['--max-num-seqs'])) {
    say('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB');
    await new Promise((later) => setTimeout(later, 30_000)); // as a real one that hangs in its teardown
  }
  const seqs = Number(given['--max-num-seqs'] ?? 256);
  const batched = Number(given['--max-num-batched-tokens'] ?? 8192);
  const used = process.env.STANDIN_ADJUST === String(seqs) ? seqs + 1 : seqs;
  const size = (name) => Number(given[name] ?? 1);
  await serve({
    host: given['--host'],
    port: given['--port'],
    settings: { MAX_NUM_SEQS: seqs, MAX_NUM_BATCHED_TOKENS: batched },
    extra: {
      'GET /version': { version: '0.11.2' },
      'GET /server_info':
        process.env.VLLM_SERVER_DEV_MODE === '1'
          ? {
              vllm_config: {
                scheduler_config: { max_num_seqs: used, max_num_batched_tokens: batched },
                cache_config: { gpu_memory_utilization: Number(given['--gpu-memory-utilization'] ?? 0.9) },
                parallel_config: {
                  tensor_parallel_size: size('--tensor-parallel-size'),
                  pipeline_parallel_size: size('--pipeline-parallel-size'),
                  data_parallel_size: size('--data-parallel-size'),
                  enable_expert_parallel: given['--enable-expert-parallel'] === true,
                },
              },
            }
          : null,
      'POST /reset_prefix_cache': () => (witness('reset_prefix_cache', []), {}),
    },
  });
}

function results(run) {
  const of = (name) => run.good.map((one) => one[name]);
  const stats = (name) => ({
    [`mean_${name}_ms`]: mean(of(name)),
    [`median_${name}_ms`]: quantile(of(name), 0.5),
    [`std_${name}_ms`]: 0,
    [`p99_${name}_ms`]: quantile(of(name), 0.99),
  });
  return { of, stats };
}

async function vllmBench(args) {
  const { given } = parse('vllm bench serve', vendor('vllm-bench-serve').flags, args);
  witness('vllm bench serve', args, { given });
  const prompts = Number(given['--num-prompts']);
  const baseUrl = `http://${given['--host']}:${given['--port']}`;
  const concurrency = Number(given['--max-concurrency'] ?? prompts);
  const run = await load({ baseUrl, model: given['--served-model-name'], prompts, concurrency });
  const { stats } = results(run);
  const document = {
    date: '20261124-120000',
    backend: given['--backend'] ?? 'openai',
    model_id: given['--model'],
    num_prompts: prompts,
    request_rate: given['--request-rate'] ?? 'inf',
    max_concurrency: concurrency,
    duration: run.seconds,
    completed: run.good.length,
    failed: run.failed,
    total_output_tokens: run.tokens,
    request_throughput: run.good.length / run.seconds,
    request_goodput: null,
    output_throughput: run.tokens / run.seconds,
    ...stats('ttft'),
    ...stats('tpot'),
  };
  const name =
    given['--result-filename'] ??
    `openai-${document.request_rate}qps-concurrency${concurrency}-m-${document.date}.json`;
  writeFileSync(join(given['--result-dir'], name), JSON.stringify(document));
  writeFileSync(join(given['--result-dir'], `${name.slice(0, -5)}.pytorch.json`), '[]');
  say('============ Serving Benchmark Result ============');
}

async function aisBench(args) {
  const { given } = parse('ais_bench', vendor('ais-bench').flags, args);
  const file = readFileSync(process.env.STANDIN_MODEL_CONFIG, 'utf8');
  const value = (name) => new RegExp(`${name} *= *"?([^",]*)"?,`).exec(file)?.[1];
  witness('ais_bench', args, { given, load: { rate: value('request_rate'), batch: value('batch_size') } });
  const prompts = Number(given['--num-prompts']);
  const baseUrl = `http://${value('host_ip')}:${value('host_port')}`;
  const run = await load({ baseUrl, prompts, concurrency: Number(value('batch_size')) });
  const { of } = results(run);
  const directory = join(given['--work-dir'], '20261124_120000', 'performances', 'vllm-api-stream-chat');
  mkdirSync(directory, { recursive: true });
  const row = (name, values) => {
    const cells = [mean(values), Math.min(...values), Math.max(...values), quantile(values, 0.5)];
    const all = [...cells, quantile(values, 0.75), quantile(values, 0.9), quantile(values, 0.99)];
    return `${name},total,${all.map((cell) => `${cell.toFixed(4)} ms`).join(',')},${values.length}`;
  };
  const header = 'Performance Parameters,Stage,Average,Min,Max,Median,P75,P90,P99,N';
  const rows = [header, row('E2EL', of('e2el')), row('TTFT', of('ttft')), row('TPOT', of('tpot'))];
  writeFileSync(join(directory, 'synthetic.csv'), `${rows.join('\r\n')}\r\n`);
  const total = (value) => ({ total: value });
  const common = {
    'Benchmark Duration': total(`${(run.seconds * 1000).toFixed(4)} ms`),
    'Total Requests': total(prompts),
    'Failed Requests': total(run.failed),
    'Success Requests': total(run.good.length),
    Concurrency: total(Math.min(prompts, Number(value('batch_size')))),
    'Max Concurrency': total(Number(value('batch_size'))),
    'Request Throughput': total(`${(run.good.length / run.seconds).toFixed(4)} req/s`),
    'Total Generated Tokens': total(run.tokens),
    'Output Token Throughput': total(`${(run.tokens / run.seconds).toFixed(4)} token/s`),
  };
  writeFileSync(join(directory, 'synthetic.json'), JSON.stringify(common, null, 4));
}

async function sglangServe(args) {
  const { flags } = vendor('sglang-launch-server');
  const { given } = parse('launch_server.py', flags, args);
  witness('sglang.launch_server', args, { given });
  const [nnodes, rank] = [Number(given['--nnodes'] ?? 1), Number(given['--node-rank'] ?? 0)];
  const key = String(given['--dist-init-addr']).split(':').at(-1);
  if (rank > 0) {
    join_(key, rank);
    return waitForTerm();
  }
  if (nnodes > 1 && !(await until(() => members(key) >= nnodes - 1))) {
    say(
      'Scheduler hit an exception: Traceback (most recent call last): torch.distributed.DistStoreError: Timed out after 20 seconds',
    );
    return process.exit(1);
  }
  const running = Number(given['--max-running-requests'] ?? 256);
  const info = Object.fromEntries(
    Object.entries(given).map(([name, value]) => [
      name.slice(2).replaceAll('-', '_'),
      Number.isNaN(Number(value)) || value === true ? value : Number(value),
    ]),
  );
  const size = (name) => Number(given[name] ?? 1);
  await serve({
    host: given['--host'],
    port: given['--port'],
    settings: { MAX_RUNNING_REQUESTS: running },
    silence: ['Application startup complete'],
    extra: {
      'GET /health_generate': {},
      'GET /version': null,
      'GET /get_server_info': null,
      'GET /server_info': {
        ...info,
        tp_size: size('--tensor-parallel-size'),
        pp_size: size('--pipeline-parallel-size'),
        dp_size: size('--data-parallel-size'),
        ep_size: size('--expert-parallel-size'),
        version: '0.5.0',
        internal_states: [{}],
      },
    },
  });
  say('The server is fired up and ready to roll!');
}

async function sglangBench(args) {
  const { given } = parse('bench_serving.py', vendor('sglang-bench-serving').flags, args);
  witness('sglang.bench_serving', args, { given });
  const prompts = Number(given['--num-prompts']);
  const concurrency = Number(given['--max-concurrency'] ?? prompts);
  const run = await load({ baseUrl: given['--base-url'], model: given['--model'], prompts, concurrency });
  const { stats } = results(run);
  const rate = given['--request-rate'] ?? 'Infinity';
  const rest = JSON.stringify({
    max_concurrency: concurrency,
    duration: run.seconds,
    completed: run.good.length,
    request_throughput: run.good.length / run.seconds,
    output_throughput: run.tokens / run.seconds,
    ...stats('ttft'),
    ...stats('tpot'),
  });
  writeFileSync(given['--output-file'], `{"backend": "sglang", "request_rate": ${rate}, ${rest.slice(1)}\n`, {
    flag: 'a',
  });
}

async function llamaServer(args) {
  const { flags } = vendor('llama-server');
  if (args.includes('--help')) {
    say(Object.keys(flags).join('\n'));
    return process.exit(0);
  }
  const { given } = parse('llama-server', flags, args);
  witness('llama-server', args, { given });
  const slots = Number(given['--parallel']);
  await serve({
    host: given['--host'],
    port: given['--port'],
    settings: { PARALLEL: slots },
    silence: ['Application startup complete', 'INFO emulated'],
    extra: {
      'GET /version': null,
      'GET /props': {
        build_info: 'b6123-4fd1242b',
        total_slots: slots,
        default_generation_settings: { n_ctx: Math.floor(Number(given['--ctx-size']) / slots) },
      },
    },
  });
  say(`main: server is listening on http://${given['--host']}:${given['--port']} - starting the main loop`);
}

async function mindie(args) {
  const path = process.env.MIES_CONFIG_JSON_PATH ?? process.env.STANDIN_MINDIE_CONFIG;
  const config = JSON.parse(readFileSync(path, 'utf8'));
  const mode = (statSync(path).mode & 0o777).toString(8);
  witness(tool, args, { config, path, mode });
  if (!['640', '600', '440', '400'].includes(mode)) {
    say('Check_path: config.json failed, permission is too wide');
    return process.exit(255);
  }
  const { ServerConfig: server, BackendConfig: backend } = config;
  if (server.httpsEnabled !== false) {
    say('ERR: Failed to init endpoint! Please check the service log or console output.');
    return process.exit(255);
  }
  if (backend.multiNodesInferEnabled) {
    const table = JSON.parse(readFileSync(process.env.RANK_TABLE_FILE, 'utf8'));
    const own = table.server_list.findIndex(({ server_id: id }) => id === process.env.MIES_CONTAINER_IP);
    const texts = table.server_list.flatMap(({ device }) => device.flatMap((one) => Object.values(one)));
    if (
      own < 0 ||
      texts.some((text) => typeof text !== 'string' || text === '') ||
      process.env.MASTER_IP === undefined
    ) {
      say('Failed to parse the json data of ranktable');
      return process.exit(255);
    }
    if (own > 0) {
      join_(backend.multiNodesInferPort, own);
      say('Daemon start success!');
      return waitForTerm(() => process.abort());
    }
    await until(() => members(backend.multiNodesInferPort) >= table.server_list.length - 1);
  }
  process.on('SIGTERM', () => setTimeout(() => process.abort(), 50)); // it ends in an abort, also when all is well
  await serve({
    host: server.ipAddress,
    port: server.port,
    settings: { maxBatchSize: backend.ScheduleConfig.maxBatchSize },
    silence: ['Application startup complete'],
    extra: {},
  });
  const { createServer } = await import('node:http');
  createServer((request, response) => {
    const info = {
      max_concurrent_requests: backend.ScheduleConfig.maxBatchSize,
      max_batch_total_tokens: backend.ScheduleConfig.maxPrefillTokens,
    };
    if (request.url === '/health') response.writeHead(200).end('{}');
    else if (request.url === '/info') response.writeHead(200).end(JSON.stringify(info));
    else response.writeHead(404).end();
  }).listen(server.managementPort, server.managementIpAddress);
  say('Daemon start success!');
}

async function ray([verb, ...args]) {
  const declared = vendor('ray-start');
  if (verb === 'status') {
    parse('ray status', declared.status_flags, args);
    const nodes = members('ray');
    const total = Number(process.env.STANDIN_RAY_DEVICES ?? 8) * nodes;
    say(
      '======== Autoscaler status: 2026-11-24 12:00:00 ========\nNode status\n---------------------------------------------------------------',
    );
    say(
      `Active:\n${Array.from({ length: nodes }, (_, i) => ` 1 node_${i}abc`).join('\n')}\nPending:\n (no pending nodes)\nRecent failures:\n (no failures)`,
    );
    say(
      `\nResources\n---------------------------------------------------------------\nTotal Usage:\n 0.0/8.0 CPU\n 0.0/${total}.0 NPU\n 0B/10.0GiB memory`,
    );
    return process.exit(0);
  }
  const { given } = parse('ray start', declared.flags, args);
  witness('ray start', args, { given });
  if (given['--head']) {
    const { createServer } = await import('node:net');
    createServer(() => undefined).listen(Number(given['--port']), given['--node-ip-address']);
  } else await new Promise((later) => setTimeout(later, 200));
  join_('ray', given['--node-ip-address']);
  waitForTerm();
}

/** Containers are processes with a file that holds their labels. */
function container(args) {
  const [verb, ...rest] = args;
  const declared = vendor('docker-run');
  const root = join(state(), 'containers');
  mkdirSync(root, { recursive: true });
  const known = () =>
    JSON.parse(
      `[${(() => {
        try {
          return readFileSync(join(root, 'all'), 'utf8').trim().split('\n').filter(Boolean).join(',');
        } catch {
          return '';
        }
      })()}]`,
    ).filter(({ pid }) => {
      try {
        return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z');
      } catch {
        return false;
      }
    });
  if (verb === 'run') {
    const own = [];
    let i = 0;
    const byName = new Map(
      Object.entries(declared.flags).flatMap(([name, flag]) =>
        [name, ...(flag.aliases ?? [])].map((one) => [one, { name, ...flag }]),
      ),
    );
    const given = [];
    for (; i < rest.length && rest[i].startsWith('-'); i++) {
      const [word, inline] = rest[i].split(/=(.*)/s);
      const flag = byName.get(word);
      if (flag === undefined) {
        process.stderr.write(`unknown flag: ${word}\nSee 'docker run --help'.\n`);
        return process.exit(125);
      }
      const value = flag.value === 'none' ? true : (inline ?? rest[++i]);
      given.push([flag.name, value]);
    }
    const [image, ...words] = rest.slice(i);
    const values = (name) => given.filter(([one]) => one === name).map(([, value]) => value);
    // An image of an engine starts it whatever it is told, unless it is told what to start.
    const command = [
      ...(values('--entrypoint').length === 0 ? ['vllm', 'serve'] : values('--entrypoint')),
      ...words,
    ];
    witness('docker run', rest, { given, image, command });
    // A container sees the variables that it is given, not those of its client.
    const env = {
      PATH: process.env.PATH,
      STANDIN_WITNESS: process.env.STANDIN_WITNESS,
      STANDIN_STATE: process.env.STANDIN_STATE,
    };
    for (const one of values('--env')) {
      const [name, value] = one.split(/=(.*)/s);
      if (value !== undefined || process.env[name] !== undefined) env[name] = value ?? process.env[name];
    }
    delete env.OPTIMIZER_TOKEN; // as in a real one, where another machine's /proc would not show it
    const child = spawn(command[0], command.slice(1), {
      stdio: 'inherit',
      env,
      cwd: values('--workdir')[0],
      detached: true,
    });
    child.on('error', (error) => {
      process.stderr.write(`docker: Error response from daemon: ${error.message}\n`);
      process.exit(127);
    });
    writeFileSync(
      join(root, 'all'),
      `${JSON.stringify({ id: `c${child.pid}`, pid: child.pid, labels: values('--label'), name: values('--name')[0] })}\n`,
      { flag: 'a' },
    );
    child.on('exit', (code) => process.exit(code ?? 137));
    for (const name of ['SIGTERM', 'SIGINT']) process.on(name, () => own.push(name)); // a client may go and leave its container
    return undefined;
  }
  if (verb === 'ps') {
    const filters = rest.flatMap((word, i) =>
      word === '--filter' ? [rest[i + 1].replace(/^label=/, '')] : [],
    );
    const { given } = parse('docker ps', declared.ps_flags, rest);
    const label = (one, name) =>
      one.labels.find((each) => each.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
    const shown = (one) =>
      String(given['--format'] ?? '{{.ID}}')
        .replace('{{.ID}}', one.id)
        .replace(/\{\{\.Label "([^"]+)"\}\}/g, (_, name) => label(one, name));
    const fits = (one) =>
      filters.every(
        (wanted) => one.labels.includes(wanted) || (!wanted.includes('=') && label(one, wanted) !== ''),
      );
    for (const one of known()) if (fits(one)) say(shown(one));
    return process.exit(0);
  }
  if (verb === 'rm' || verb === 'kill' || verb === 'stop') {
    for (const one of known()) {
      if (!rest.includes(one.id)) continue;
      try {
        process.kill(-one.pid, verb === 'stop' ? 'SIGTERM' : 'SIGKILL');
      } catch {
        // gone already
      }
    }
    if (verb === 'stop') setTimeout(() => process.exit(0), 300);
    else process.exit(0);
    return undefined;
  }
  if (verb === 'exec') {
    const { rest: words } = split(declared.exec_flags, rest);
    const [, ...command] = words;
    witness('docker exec', rest, {});
    const child = spawn(command[0], command.slice(1), { stdio: 'inherit' });
    child.on('exit', (code) => process.exit(code ?? 137));
    return undefined;
  }
  process.stderr.write(`unknown command: docker ${verb}\n`);
  return process.exit(1);
}

/** Options up to the first word that is none; the rest belongs to somebody else. */
function split(declared, words) {
  const byName = new Map(
    Object.entries(declared).flatMap(([name, flag]) =>
      [name, ...(flag.aliases ?? [])].map((one) => [one, flag]),
    ),
  );
  const given = [];
  let i = 0;
  for (; i < words.length && words[i].startsWith('-'); i++) {
    const [word, inline] = words[i].split(/=(.*)/s);
    const flag = byName.get(word);
    if (flag === undefined) {
      process.stderr.write(`unknown flag: ${word}\n`);
      process.exit(125);
    }
    given.push([word, flag.value === 'none' ? true : (inline ?? words[++i])]);
  }
  return { given, rest: words.slice(i) };
}

const tools = {
  vllm: ([verb, ...rest]) =>
    verb === 'serve'
      ? vllmServe(rest)
      : verb === 'bench' && rest[0] === 'serve'
        ? vllmBench(rest.slice(1))
        : process.exit(2),
  ais_bench: aisBench,
  python3: ([flag, module, ...rest]) => {
    if (flag === '-m' && module === 'sglang.launch_server') return sglangServe(rest);
    if (flag === '-m' && module === 'sglang.bench_serving') return sglangBench(rest);
    return process.exit(1);
  },
  'llama-server': llamaServer,
  mindie_llm_server: mindie,
  mindieservice_daemon: mindie,
  ray,
  docker: container,
  podman: container,
  hccn_tool: (args) => {
    say(`ipaddr:10.20.${Number(args[1])}.${Number(process.env.STANDIN_NODE ?? 1)}\nnetmask:255.255.0.0`);
    process.exit(0);
  },
};

accessSync('/proc/self', constants.R_OK);
await tools[tool](argv);
