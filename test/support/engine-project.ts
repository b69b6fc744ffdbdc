import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { Project } from './project.ts';
import type { SshdCluster } from './sshd.ts';

const standIns = resolve(import.meta.dirname, 'stand-ins/main.mjs');
const tools = [
  'vllm',
  'ray',
  'python3',
  'llama-server',
  'mindie_llm_server',
  'ais_bench',
  'hccn_tool',
  'docker',
  'podman',
];

/** What a stand-in says of a start. */
export interface ToolWitness {
  readonly tool: string;
  readonly argv: readonly string[];
  readonly pid: number;
  readonly env: Readonly<Record<string, string>>;
  readonly given: Readonly<Record<string, string | true>>;
  readonly [more: string]: unknown;
}

export interface EngineProjectOptions {
  /** Top-level keys of config.toml and tables, after the usual ones. */
  readonly toml: string;
  readonly parallel?: string;
  readonly defaults?: string;
  readonly env?: Readonly<Record<string, string | number>>;
  readonly nodesPerGroup?: number;
  readonly particles?: number;
  /** Stand-ins that are not installed. */
  readonly without?: readonly string[];
}

/** A project whose nodes have an engine and load tools on their PATH: stand-ins that know the vendor's flags. */
export class EngineProject extends Project {
  /** The last words on stderr. */
  said = '';
  readonly #nodesPerGroup: number;
  readonly #witnesses: string;

  constructor(
    cluster: SshdCluster,
    {
      toml,
      parallel = '',
      defaults = '',
      env = {},
      nodesPerGroup = 2,
      without = [],
      particles = 3,
    }: EngineProjectOptions,
  ) {
    super(cluster);
    this.#nodesPerGroup = nodesPerGroup;
    this.#witnesses = join(this.directory, 'tools.jsonl');
    const { bin } = cluster;
    rmSync(bin, { recursive: true, force: true });
    mkdirSync(bin);
    const state = join(this.directory, 'state');
    for (const tool of tools.filter((one) => !without.includes(one))) {
      writeFileSync(join(bin, tool), this.scriptOf(tool), { mode: 0o755 });
    }
    mkdirSync(state, { mode: 0o777 });
    chmodSync(state, 0o777);
    const variables = {
      PATH: [bin, dirname(process.execPath), '/usr/bin', '/bin'].join(delimiter),
      STANDIN_RAY_DEVICES: 4,
      FAKE_WITNESS: this.witnessFile,
      ...env,
    };
    writeFileSync(
      join(this.directory, 'config.toml'),
      `load_search = "fixed"
confirm_runs = 0
n_particles = ${particles}
iters = 1
ttft_penalty = 0
presets = false
${toml}
[parallel]
groups = "trust"
retry_delay = 0.1
${parallel}
[parallel.defaults]
work_dir = "${this.directory}/scratch"
known_hosts_file = "${cluster.knownHosts}"
device_type = "npu"
npu_ids = [0, 1, 2, 3]
stop_grace = 3
${defaults}
[parallel.defaults.env]
${Object.entries(variables)
  .map(([name, value]) => `${name} = ${JSON.stringify(value)}`)
  .join('\n')}
`,
    );
  }

  /** A shell script that behaves like a tool. */
  scriptOf(tool: string): string {
    const variables = `STANDIN_STATE=${join(this.directory, 'state')} STANDIN_WITNESS=${this.#witnesses}`;
    return `#!/bin/sh\nexport ${variables}\nexec ${process.execPath} ${standIns} ${tool} "$@"\n`;
  }

  override get args(): string[] {
    return [...super.args, '--nodes-per-group', String(this.#nodesPerGroup)];
  }

  /** What the stand-ins were given, in the order of their starts. */
  tools(name?: string): ToolWitness[] {
    if (!existsSync(this.#witnesses)) return [];
    const lines = readFileSync(this.#witnesses, 'utf8').split('\n').filter(Boolean);
    return lines
      .map((line) => JSON.parse(line) as ToolWitness)
      .filter((one) => name === undefined || one.tool === name);
  }
}
