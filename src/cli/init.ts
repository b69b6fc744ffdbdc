import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { settleAll } from '../base/cancellation.ts';
import { ConfigurationError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import { NodeConfig } from '../config/parallel-config.ts';
import { hostLine, type HostEntry } from '../config/host-syntax.ts';
import { quote } from '../remote/quote.ts';
import { lookCommand, parseLook, type NodeLook } from '../remote/preflight.ts';
import { sshConnector } from '../remote/remote-executor.ts';
import { hostsOf } from './load.ts';
import type { CliOptions, initEngines } from './options.ts';
import { askForPassphrasesOf } from './passphrases.ts';
import { reading, writeWhereTold } from './runs.ts';
import { stopOnSignals } from './signals.ts';

type InitEngine = (typeof initEngines)[number];

export interface InitOptions extends CliOptions {
  readonly to: string;
  readonly force?: boolean;
}

const head = (
  engine: InitEngine,
): string => `# Written by \`optimizer init\`. What is marked with ← is yours to say.
# Durations are seconds; TTFT and TPOT are seconds as well. All keys: docs/configuration.md

engine = "${engine}"
benchmark = "builtin"    # the load generator for OpenAI-compatible servers

# The search: n_particles × iters configurations, your present one first.
n_particles = 10
iters = 5
# budget = "2h"          # wall clock; nothing is begun that cannot end in it

# SLOs ← mean of all requests, unless slo = ["ttft:p99<=500ms", …] says otherwise.
ttft_slo = 1.0
tpot_slo = 0.05
tpot_penalty = 1.0       # 0, the default, would switch the SLO of TPOT off
success_rate_slo = 1.0
`;

const tables: Readonly<Record<InitEngine, string>> = {
  script: `
[script]
# model = "my-model"     # default: the first id of /v1/models

# One table a parameter. ← names that your start script reads, and the values that you run today.
[[script.target_field]]
name = "MAX_NUM_SEQS"
config_position = "env"  # an environment variable; a dotted path is a place in the JSON at config_path
min = 8
max = 256
dtype = "int"
value = 64

[[script.target_field]]
name = "CONCURRENCY"     # replaces max_concurrency of the benchmark; searched while the service runs
config_position = "env"
min = 1
max = 256
dtype = "int"
value = 64
`,
  vllm: `
[vllm]
# executable = ["vllm"]
# fields = "wide"        # more parameters; default "standard"

[vllm.command]
model = "/path/to/model" # ← path on every node, or a name of the hub
port = "8000"
others = ""              # ← further words of your \`vllm serve\`
`,
  sglang: `
[sglang]
# fields = "wide"        # more parameters; default "standard"

[sglang.command]
model = "/path/to/model" # ← path on every node, or a name of the hub
port = "30000"
others = ""              # ← further words of your \`sglang.launch_server\`
`,
  mindie: `
[mindie]
# config_path = "/usr/local/Ascend/mindie/latest/mindie-service/conf/config.json"   # found out unless it is said
fields = "standard"      # the usual parameters; "default" takes the tables below
`,
  llamacpp: `
[llamacpp]
# executable = ["llama-server"]

[llamacpp.command]
model = "/path/to/model.gguf"   # ← path on every node
port = "8080"
others = ""              # ← further words of your \`llama-server\`
`,
};

const load = `
[builtin]
endpoint = "completions" # or "chat"
num_prompts = 200
num_warmups = 8
max_concurrency = 64     # ← what you load your service with today
input_len = 256          # ← tokens of your requests, or { mean = 256, std = 64, min = 16, max = 1024 }
output_len = 128         # ←
timeout = 600
`;

/** What was found out about the hosts, as keys. */
function parallelTable(
  engine: InitEngine,
  looks: readonly (readonly [string, NodeLook])[],
  { user, sshPort, identity }: InitOptions,
): string {
  const counts = looks.flatMap(([, { devices }]) => (devices === undefined ? [] : [devices.ids.length]));
  const [tool] = looks.flatMap(([, { devices }]) => devices?.tool ?? []);
  const least = Math.min(...counts);
  const found =
    counts.length === 0
      ? ['# npu_ids = [0, 1, 2, 3, 4, 5, 6, 7]   # devices of a node; all 8 unless it is said']
      : [
          `npu_ids = [${Array.from({ length: least }, (_, id) => id).join(', ')}]   # found on ${looks.length} node(s)`,
          `device_type = "${tool === 'npu' ? 'npu' : 'gpu'}"`,
        ];
  const script =
    engine === 'script' ? ['start_script = "./start_service.sh"   # ← run on the master of a group'] : [];
  const url = engine === 'script' ? ['health_check_url = "http://{host}:8000/health"'] : [];
  const login = [
    ...(user === undefined ? [] : [`username = ${JSON.stringify(user)}`]),
    ...(sshPort === undefined ? [] : [`ssh_port = ${sshPort}`]),
    ...(identity === undefined ? [] : [`identity_file = ${JSON.stringify(identity)}`]),
  ];
  return `
[parallel]
evaluation_timeout = 600 # of one benchmark

[parallel.defaults]
${[...script, ...found, ...url, ...login].join('\n')}
# work_dir = "/tmp/modelevalstate"
health_check_timeout = 1800   # a start may take so long
`;
}

/** Looks at the devices of hosts; one that cannot be reached is told, and left to the user. */
async function lookAt(
  hosts: readonly HostEntry[],
  options: InitOptions,
): Promise<(readonly [string, NodeLook])[]> {
  const nodes = hosts.map(
    ({ host, user = options.user, port = options.sshPort }) =>
      new NodeConfig({
        ...{ host, username: user, ssh_port: port },
        ...{ ssh_config: options.sshConfig, identity_file: options.identity },
      }),
  );
  await askForPassphrasesOf(nodes);
  using stop = stopOnSignals(() => process.stderr.write('stopping\n'));
  const connector = sshConnector({ acceptNewHostKeys: options.acceptNewHostKeys === true });
  const needs = { port: undefined, executable: undefined, programs: [], model: undefined, env: {} };
  const found = await settleAll(
    nodes.map(async (node) => {
      const { host } = node;
      try {
        await using executor = await connector.connect(node, stop.signal, { retry: false });
        const command = lookCommand({ ...needs, workDir: node.work_dir });
        const { stdout } = await executor.run(command, { signal: stop.signal, timeout: ms(30_000) });
        return [[host, parseLook(stdout)] as const];
      } catch (error) {
        stop.signal.throwIfAborted();
        process.stderr.write(`note: ${host}: ${(error as Error).message}\n`);
        return [];
      }
    }),
  );
  return found.flat();
}

function refuseToOverwrite(files: readonly string[], force: boolean): void {
  const there = files.filter((file) => existsSync(file));
  if (there.length === 0 || force) return;
  throw new ConfigurationError(
    `${there.join(' and ')} ${there.length === 1 ? 'is' : 'are'} there already`,
    {},
    { remedy: 'Give another directory with --to, or --force to replace what is there.' },
  );
}

/** Writes a configuration and a hostfile to begin with. */
export async function init(options: InitOptions): Promise<number> {
  return reading(options, async () => {
    const engine = (options.engine ?? 'script') as InitEngine;
    const groups = hostsOf(options, { hasGroups: false, isAsked: options.parallel === true }, process.env);
    const hosts = groups?.groups.flatMap((group) => group.hosts) ?? [];
    const config = join(options.to, 'config.toml');
    // A list of hosts that is there is good enough, and the user's.
    const given = options.hostfile;
    const hostfile = given ?? join(options.to, 'hosts.txt');
    const files = given === undefined ? [config, hostfile] : [config];
    refuseToOverwrite(files, options.force === true);
    const looks = await lookAt(hosts, options);
    // llama-server serves on one node.
    const perGroup = engine === 'llamacpp' ? 1 : (groups?.groups[0]?.hosts.length ?? options.nodesPerGroup);
    const members = hosts.length === 0 ? ['node01', 'node02'] : hosts.map(hostLine);
    writeWhereTold(config, head(engine) + tables[engine] + parallelTable(engine, looks, options) + load);
    if (given === undefined)
      writeWhereTold(
        hostfile,
        `# One host a line, as ~/.ssh/config knows it; the first of every ${perGroup} is the master of a group.\n${members.map((host) => `${host}\n`).join('')}`,
      );
    const flags = `-c ${quote(config)} --parallel --hostfile ${quote(hostfile)} --nodes-per-group ${perGroup}`;
    process.stdout.write(
      [
        `wrote ${files.join(' and ')}`,
        `1. say what is yours in ${config} (marked with ←)${hosts.length === 0 ? `, and the hosts in ${hostfile}` : ''}`,
        `2. optimizer check ${flags}`,
        `3. optimizer ${flags} --dry-run`,
        `4. optimizer ${flags}`,
        '',
      ].join('\n'),
    );
    return 0;
  });
}
