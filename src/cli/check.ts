import pLimit from 'p-limit';
import { need } from '../base/assert.ts';
import { asOptimizerError } from '../base/errors.ts';
import { controllerLives } from '../base/process-start.ts';
import { ms, trialId } from '../base/units.ts';
import { words } from '../base/words.ts';
import type { NodeConfig, ServiceGroupConfig } from '../config/parallel-config.ts';
import type { Settings } from '../config/settings.ts';
import { parseCensus } from '../parallel/leftovers.ts';
import type { Executor, LaunchPlan, LoadPlace, NodeFacts } from '../parallel/ports.ts';
import { topologyOf } from '../parallel/topology.ts';
import { LoadHosts } from '../load-hosts.ts';
import { lookCommand, parseLook, type NodeNeeds } from '../remote/preflight.ts';
import { checks, grouped, judgeNodes, type Finding, type NodeReport } from '../report/preflight.ts';
import { sharesPaths } from '../wiring.ts';
import { worldOf, type World } from '../world.ts';
import { loadSettings } from './load.ts';
import type { CliOptions } from './options.ts';
import { exitCodes, printFailure } from './outcome.ts';
import { askForPassphrases } from './passphrases.ts';
import { stopOnSignals } from './signals.ts';
import { columns, oneLine } from './table.ts';

const timeout = ms(120_000);
/** Nodes at once. */
const fanOut = 32;

/** Ports of the service by rank: where the probe goes. */
function portOn(plan: LaunchPlan, hosts: readonly string[], rank: number): number | undefined {
  const url = new URL(plan.probe.url);
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  const at = hosts.findIndex((host) => url.hostname === host || url.hostname === `[${host}]`);
  return rank === Math.max(0, at) ? port : undefined;
}

/** Programs of the plan that are not the shell's own. */
function programsOn(plan: LaunchPlan, rank: number, executable: readonly string[] | undefined): string[] {
  const started = plan.stages.flatMap(({ processes }) => processes).filter((one) => one.rank === rank);
  return [...new Set(started.map(({ command }) => command.argv[0]))].filter(
    (program) => program !== 'sh' && program !== 'env' && program !== executable?.[0],
  );
}

/** Where the load is made, where that is no node of a group. */
function placeOf({ benchmarkConfig }: Settings): Exclude<LoadPlace, 'master'> | undefined {
  const { run_on: place = 'controller' } = benchmarkConfig as { readonly run_on?: LoadPlace };
  return place === 'master' ? undefined : place;
}

/** The program that makes the load, where it is started there; none of a benchmark that starts none. */
function loadPrograms({ benchmark, benchmarkConfig }: Settings, where: LoadPlace): readonly string[] {
  const {
    run_on,
    before = [],
    executable,
    command,
  } = benchmarkConfig as {
    readonly run_on?: string;
    readonly before?: readonly string[];
    readonly executable?: readonly string[];
    readonly command?: string | { readonly serving?: string };
  };
  if (run_on !== where) return [];
  if (benchmark === 'builtin') return where === 'controller' ? [] : ['node'];
  const isScript = typeof command === 'object' && (command.serving ?? '') !== '';
  const own = isScript
    ? ['python3']
    : (executable ?? (typeof command === 'string' ? words(command, 'command.command') : []));
  return [...before, ...own].slice(0, 1);
}

interface Looked {
  readonly report?: NodeReport;
  readonly failure?: Finding;
}

const asTrial0 = (settings: Settings) => ({
  ...{ runId: 'check', trialId: trialId(0), start: 0, sharesPaths: sharesPaths(settings) },
});

async function look(
  { settings, world }: { readonly settings: Settings; readonly world: World },
  group: ServiceGroupConfig,
  node: NodeConfig,
  executor: Executor,
  signal: AbortSignal,
): Promise<NodeReport> {
  const { engine, runtime, probe } = world;
  const rank = group.nodes.indexOf(node);
  const topology = topologyOf(group, asTrial0(settings));
  const plan = engine.plan(settings.engineConfig, settings.space.current, topology);
  const { executable, model = '' } = engine.needs?.(settings.engineConfig) ?? {};
  const isOnHost = settings.runtime.kind === 'host';
  const needs: NodeNeeds = {
    workDir: node.work_dir,
    port: portOn(
      plan,
      topology.nodes.map(({ address }) => address),
      rank,
    ),
    // Inside a container's image nothing can be looked for from here.
    executable: isOnHost ? executable : undefined,
    programs: [
      ...(isOnHost ? programsOn(plan, rank, executable) : []),
      ...(rank === 0 ? loadPrograms(settings, 'master') : []),
    ],
    model: /^[/~.]/.test(model) ? model : undefined,
    env: { ...group.env, ...node.env },
  };
  const asked = Date.now();
  const { stdout } = await executor.run(lookCommand(needs), { signal, timeout });
  const found = parseLook(stdout);
  const deviceType = node.device_type ?? found.devices?.tool ?? 'none';
  const facts: NodeFacts = {
    workDir: node.work_dir,
    deviceType: deviceType as NodeFacts['deviceType'],
    warning: undefined,
  };
  const memoryInUse = await probe.memoryInUse(executor, node, facts, signal);
  const census = await executor.run(runtime.census(), { signal, timeout });
  return {
    host: node.host,
    ...found,
    ...{ workDir: node.work_dir, port: needs.port, model: needs.model, memoryInUse },
    skewMs: found.clockMs === undefined ? undefined : found.clockMs - asked,
    wantedDevices: node.npu_ids,
    memoryHolders: memoryInUse === undefined ? '' : await probe.memoryHolders(executor, facts, signal),
    hasExecutable: needs.executable !== undefined,
    leftovers: parseCensus(node.host, census.stdout).map((one) => ({
      run: one.run,
      isDead: controllerLives(one.controller) === false,
    })),
  };
}

async function lookAt(
  parts: { readonly settings: Settings; readonly world: World },
  group: ServiceGroupConfig,
  node: NodeConfig,
  signal: AbortSignal,
): Promise<Looked> {
  try {
    await using executor = await parts.world.connector.connect(node, signal, { retry: false });
    return { report: await look(parts, group, node, executor, signal) };
  } catch (error) {
    signal.throwIfAborted();
    const { message, remedy } = asOptimizerError(error);
    return { failure: { check: 'reach', host: node.host, state: 'bad', text: message, remedy } };
  }
}

const signs = { ok: '✓', warning: '!', bad: '✗', unknown: '–' } as const;

/** A line a node, a column a check; below it everything that is wrong, once. */
function text(hosts: readonly string[], findings: readonly Finding[]): string {
  const worst = (host: string, check: string): string => {
    const states = findings
      .filter((one) => one.host === host && one.check === check)
      .map(({ state }) => state);
    const state = (['bad', 'warning', 'unknown', 'ok'] as const).find((one) => states.includes(one));
    return state === undefined ? '' : signs[state];
  };
  const rows = hosts.map((host) => [host, ...checks.map((check) => worst(host, check))]);
  const wrong = grouped(findings.filter(({ state }) => state === 'bad' || state === 'warning'));
  const names = (some: readonly string[]): string =>
    some.length <= 3 ? some.join(', ') : `${some.slice(0, 2).join(', ')} and ${some.length - 2} more`;
  const lines = wrong.map(
    ({ finding: { check, state, text: what, remedy }, hosts: on }) =>
      `${signs[state]} ${check} on ${names(on)}: ${oneLine(what)}\n  → ${remedy}\n`,
  );
  const bad = wrong.filter(({ finding }) => finding.state === 'bad').length;
  const end =
    bad === 0 ? `${hosts.length} node(s) are ready\n` : `a run would fail: ${bad} thing(s) to mend\n`;
  return [columns([['node', ...checks], ...rows]), ...(lines.length === 0 ? [] : ['\n', ...lines]), end].join(
    '',
  );
}

/** What of the benchmark cannot work on this machine. */
async function benchmarkFault(
  { settings, world }: { settings: Settings; world: World },
  signal: AbortSignal,
): Promise<Finding[]> {
  const benchmark = await world.createBenchmark();
  const on = (what: string, remedy: string): Finding[] => [
    { check: 'tools', host: 'this machine', state: 'bad', text: what, remedy },
  ];
  try {
    benchmark.check?.(settings.benchmarkConfig);
  } catch (error) {
    const { message, remedy } = asOptimizerError(error);
    return on(message, remedy);
  }
  const place = placeOf(settings);
  const [program] = place === undefined ? [] : loadPrograms(settings, place);
  if (place === undefined || program === undefined) return [];
  const like = need(settings.parallel.service_groups[0]?.nodes[0], 'node');
  await using loadHosts = new LoadHosts(world, like);
  let here: Executor;
  try {
    here = place === 'controller' ? await world.controller() : (await loadHosts.at(place, signal)).executor;
  } catch (error) {
    signal.throwIfAborted();
    const { message, remedy } = asOptimizerError(error);
    return [{ check: 'reach', host: place, state: 'bad', text: message, remedy }];
  }
  const argv = ['sh', '-c', 'command -v "$1"', 'sh', program] as const;
  const bounded = { signal: AbortSignal.timeout(timeout), timeout };
  const isThere = await here.run({ argv, label: `looking for ${program}` }, bounded).then(
    () => true,
    () => false,
  );
  if (isThere) return [];
  return on(
    `the benchmark's program ${program} is not found${place === 'controller' ? '' : ` on ${place.slice('host:'.length)}`}`,
    `Install it there, give its path in [${settings.benchmark}], or let it run elsewhere with run_on.`,
  );
}

/** Looks at every node before a run, and starts nothing. @returns 3 where a run would fail */
export async function check(options: CliOptions): Promise<number> {
  const json = options.json === true;
  let settings: Settings;
  let world: World;
  try {
    ({ settings } = await loadSettings(options));
    world = worldOf({ ...settings, simulation: undefined });
    // What is wrong without a node is no fault of one.
    for (const group of settings.parallel.service_groups) {
      const topology = topologyOf(group, asTrial0(settings));
      world.engine.plan(settings.engineConfig, settings.space.current, topology);
    }
  } catch (error) {
    return printFailure(error, exitCodes.usage, json);
  }
  const nodes = settings.parallel.service_groups.flatMap((group) =>
    group.nodes.map((node) => ({ group, node })),
  );
  await askForPassphrases(settings);
  using stop = stopOnSignals(() => process.stderr.write('stopping\n'));
  const limit = pLimit(fanOut);
  let looked: Looked[];
  try {
    looked = await Promise.all(
      nodes.map(async ({ group, node }) =>
        limit(async () => lookAt({ settings, world }, group, node, stop.signal)),
      ),
    );
  } catch (error) {
    if (stop.signal.aborted) return exitCodes.interrupted;
    throw error;
  }
  const findings = [
    ...looked.flatMap(({ failure }) => failure ?? []),
    ...judgeNodes(looked.flatMap(({ report }) => report ?? [])),
    ...(await benchmarkFault({ settings, world }, stop.signal)),
  ];
  const isBad = findings.some(({ state }) => state === 'bad');
  const hosts = [...new Set(nodes.map(({ node }) => node.host))];
  process.stdout.write(
    json
      ? `${JSON.stringify({ schema: 1, ready: !isBad, nodes: hosts.map((host) => ({ host, checks: findings.filter((one) => one.host === host).map(({ check: name, state, text: what, remedy }) => ({ check: name, state, text: what, remedy })) })), elsewhere: findings.filter((one) => !hosts.includes(one.host)) }, null, 2)}\n`
      : text(hosts, findings),
  );
  return isBad ? exitCodes.infrastructure : exitCodes.feasible;
}
