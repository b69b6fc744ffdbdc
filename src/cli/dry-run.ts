import type { Field } from '../core/space/field.ts';
import { isLoad } from '../core/tuning/load-fields.ts';
import { ownFields } from '../refine.ts';
import { sharesPaths } from '../wiring.ts';
import { engineNamed } from '../engines/index.ts';
import { worldOf } from '../world.ts';
import { need } from '../base/assert.ts';
import { formatDuration, ms, trialId } from '../base/units.ts';
import type { Settings } from '../config/settings.ts';
import { budgetOptions } from '../plan-budget.ts';
import { Budget } from '../study/budget.ts';
import type { LaunchPlan, PlannedProcess, Until } from '../parallel/ports.ts';
import { quote } from '../remote/quote.ts';
import { topologyOf } from '../parallel/topology.ts';
import { redactSecrets } from '../base/redact.ts';
import type { Loaded } from './load.ts';
import { fieldText, sizeText } from './space-text.ts';

function commandsOf(processes: readonly PlannedProcess[]) {
  return processes.map(({ rank, role, command }) => ({
    rank,
    role,
    argv: command.argv,
    cwd: command.cwd ?? null,
    env: command.env ?? {},
  }));
}

type DryCommand = ReturnType<typeof commandsOf>[number];

/** As it would be typed on the node. */
function commandText({ rank, role, argv, cwd, env }: DryCommand): string {
  const variables = Object.entries(env).map(([name, value]) => `    ${name}=${quote(value)}`);
  const words = argv[0] === 'sh' ? ['sh', '-c', '…', ...argv.slice(3)] : argv;
  const line = words.map((word) => (word === '…' ? word : quote(word))).join(' ');
  return [`  ${role} on node ${rank}, in ${cwd ?? '~'}:`, ...variables, `    ${line}`].join('\n');
}

function untilText(until: Until): string[] {
  switch (until.kind) {
    case 'started':
      return [];
    case 'port':
      return [`  then wait until port ${until.port} of node ${until.rank} listens`];
    case 'command':
      return [
        `  then wait until it succeeds on node ${until.rank}: ${until.command.label ?? until.command.argv.join(' ')}`,
      ];
    case 'log':
      return [`  then wait for ${JSON.stringify(until.text)} in the log of node ${until.rank}`];
    case 'http':
      return [`  then wait until ${until.url} answers ${until.expectStatus}`];
  }
}

/** What would be done, without a connection. */
async function describe({ settings }: Loaded) {
  const { parallel, space, engine, benchmark, seed } = settings;
  const run = {
    runId: 'RUN_ID',
    trialId: trialId(0),
    start: 0,
    sharesPaths: sharesPaths(settings),
    runtime: settings.runtime.kind,
  };
  const topologies = parallel.service_groups.map((group) => topologyOf(group, run));
  const first = need(topologies[0], 'group');
  const plan: LaunchPlan = engineNamed(engine).plan(settings.engineConfig, space.current, first);
  await using load = await worldOf({ ...settings, simulation: undefined }).createBenchmark();
  const unknownDevices = parallel.service_groups.some((group) =>
    group.nodes.some((node) => node.device_type === undefined),
  );
  return {
    schema: 1,
    engine,
    benchmark,
    seed,
    groups: topologies.map((topology) => ({
      group_id: topology.groupId,
      master: need(topology.nodes[0], 'master').host,
      nodes: topology.nodes.map(({ rank, host, deviceIds, workDir }) => ({
        rank,
        host,
        ssh_port: need(topology.settings.nodes[rank], 'node').ssh_port ?? 22,
        device_ids: deviceIds,
        work_dir: workDir,
      })),
    })),
    space: { dimensions: space.dimensions, fields: ownFields(settings) },
    load_search: settings.nestedLoad === undefined ? null : { probes: settings.nestedLoad.probes },
    constraints:
      settings.rules.constraints?.map(({ expr, reason }) => ({ expr, reason: reason ?? null })) ?? [],
    presets: settings.presets,
    baseline: { params: space.current },
    plan: {
      group_id: first.groupId,
      files: plan.files.map(({ rank, path, content }) => ({ rank, path, content })),
      prepare: commandsOf(plan.prepare ?? []),
      stages: plan.stages.map(({ processes, until }) => ({
        commands: commandsOf(processes),
        until,
      })),
      restore: commandsOf(plan.restore ?? []),
      stop: commandsOf(plan.stop),
      probe: { url: plan.probe.url },
      benchmark: load.preview?.(settings.benchmarkConfig, plan.target, space.current) ?? null,
    },
    evaluations: settings.search.maxEvaluations,
    budget: { seconds: settings.budget.seconds ?? null, outlook: outlookOf(settings) ?? null },
    warnings: [
      ...settings.notes,
      ...(unknownDevices
        ? ['device_type is not set: it is found out on the nodes, npu is assumed here']
        : []),
    ],
  };
}

/** What fits into the time, as far as the user says what starts and benchmarks take. */
const outlookOf = (settings: Settings): string | undefined =>
  new Budget(budgetOptions(settings, settings.parallel.service_groups.length, []), () => ms(0)).outlook([]);

type Description = Awaited<ReturnType<typeof describe>>;

/** The ways of a tool into its own directory are left out: its words are what one would type. */
function benchmarkText({ plan: { benchmark }, benchmark: name }: Description): string[] {
  if (benchmark === null) return [];
  const { where, says, argv = [] } = benchmark;
  const words = argv[0] === 'sh' ? ['sh', '-c', '…', ...argv.slice(3)] : argv;
  const line = words.map((word) => (word === '…' ? word : quote(word))).join(' ');
  return [`then measured by ${name} on the ${where}:`, `    ${says ?? line}`];
}

function text(dry: Description): string {
  const groups = dry.groups.map(
    ({ group_id, nodes }) =>
      `  group ${group_id}: ${nodes.map(({ rank, host, device_ids }) => `${rank === 0 ? 'master ' : ''}${host} (devices ${device_ids.join(',')})`).join(', ')}`,
  );
  const isProbed = (field: Field): boolean => dry.load_search !== null && isLoad(field);
  const fields = dry.space.fields.map(
    (field) =>
      `  ${field.name} (${field.dtype}): ${fieldText(field)}${isProbed(field) ? '; searched while the service runs' : ''}`,
  );
  const files = dry.plan.files.map(
    ({ rank, path, content }) => `  node ${rank}: ${path}\n${content.trim().replace(/^/gm, '    ')}`,
  );
  const { plan } = dry;
  const commands = [
    ...plan.prepare.map(commandText),
    ...plan.stages.flatMap(({ commands: all, until }) => [...all.map(commandText), ...untilText(until)]),
    ...[...plan.stop, ...plan.restore].map((one) => `at the end:\n${commandText(one)}`),
  ];
  return [
    `engine ${dry.engine}, benchmark ${dry.benchmark}, seed ${dry.seed}, ${dry.evaluations} evaluations`,
    ...(dry.budget.seconds === null ? [] : [`budget ${formatDuration(ms(dry.budget.seconds * 1000))}`]),
    dry.budget.outlook ??
      'how long it takes is told after the first start; now, with expected_start and expected_benchmark',
    `${dry.groups.length} group(s):`,
    ...groups,
    `search space, ${dry.space.dimensions} dimension(s), ${sizeText(dry.space.fields.filter((field) => !isProbed(field)))}:`,
    ...fields,
    ...(dry.load_search === null
      ? []
      : [
          `  at most ${dry.load_search.probes} loads a configuration, from the best one's so far (load_probes)`,
        ]),
    ...dry.constraints.map(
      ({ expr, reason }) => `  constraint: ${expr}${reason === null ? '' : ` (${reason})`}`,
    ),
    ...(dry.presets.length === 0
      ? []
      : [`${dry.presets.length} preset(s) are tried after your present configuration`]),
    `trial 0, your present configuration, on group ${dry.plan.group_id}:`,
    ...files,
    ...commands,
    `  healthy when ${dry.plan.probe.url} answers 200`,
    ...benchmarkText(dry),
    ...dry.warnings.map((warning) => `note: ${warning}`),
    'nothing was started',
    '',
  ].join('\n');
}

export async function printDryRun(loaded: Loaded, json: boolean): Promise<number> {
  const safe = JSON.parse(JSON.stringify(await describe(loaded), redactSecrets)) as Description;
  process.stdout.write(json ? `${JSON.stringify(safe, null, 2)}\n` : text(safe));
  return 0;
}
