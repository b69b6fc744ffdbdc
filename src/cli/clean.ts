import { settleAll } from '../base/cancellation.ts';
import { asOptimizerError, ConfigurationError } from '../base/errors.ts';
import { groupId, ms } from '../base/units.ts';
import { controllerLives } from '../base/process-start.ts';
import type { NodeConfig, ServiceGroupConfig } from '../config/parallel-config.ts';
import { parseCensus, type OwnedFound } from '../parallel/leftovers.ts';
import type { Command, Connector, Executor, Runtime } from '../parallel/ports.ts';
import { engineNamed } from '../engines/index.ts';
import { runtimeOf } from '../remote/container-runtime.ts';
import { newestRun } from '../runs/catalog.ts';
import type { Settings } from '../config/settings.ts';
import { connectorOf } from '../world.ts';
import { loadSettings, type Loaded } from './load.ts';
import type { CliOptions } from './options.ts';
import { exitCodes, printFailure } from './outcome.ts';
import { columns } from './table.ts';
import { askForPassphrases } from './passphrases.ts';
import { loadSavedSettings } from './saved.ts';
import { stopOnSignals } from './signals.ts';

export interface CleanOptions extends CliOptions {
  readonly force?: boolean;
}

interface Row extends OwnedFound {
  readonly outcome: string;
}

const timeout = ms(90_000);
const grace = ms(10_000);

/** What would happen to a process that a run of ours left or has. */
function verdict(found: OwnedFound, force: boolean): 'end' | 'live' | 'elsewhere' {
  const lives = controllerLives(found.controller);
  if (force || lives === false) return 'end';
  return lives === true ? 'live' : 'elsewhere';
}

const words = {
  live: 'kept: its run is alive',
  elsewhere: 'kept: its controller is on another machine (--force ends it)',
} as const;

interface Cleaned {
  readonly rows: readonly Row[];
  /** Configurations of the engine that a run had edited and now are as they were. */
  readonly restored: readonly string[];
}

async function cleanNode(
  executor: Executor,
  runtime: Runtime,
  putBack: Command | undefined,
  options: CleanOptions,
  signal: AbortSignal,
): Promise<Cleaned> {
  const { stdout } = await executor.run(runtime.census(), { signal, timeout });
  const found = parseCensus(executor.host, stdout);
  const ending = new Set(
    found.filter((one) => verdict(one, options.force === true) === 'end').map(({ token }) => token),
  );
  const survivors = new Set<string>();
  if (options.dryRun !== true) {
    for (const token of ending) {
      const { stdout: left } = await executor.run(runtime.reap(token, grace, []), {
        ...{ signal, timeout },
        untied: true,
      });
      for (const line of left.split('\n')) survivors.add(line.split(' ')[0] ?? '');
      if (left.trim() === '') await executor.run(runtime.dismiss(token), { signal, timeout });
    }
  }
  const rows = found.map((one) => {
    const decided = verdict(one, options.force === true);
    if (decided !== 'end') return { ...one, outcome: words[decided] };
    if (options.dryRun === true) return { ...one, outcome: 'would be ended' };
    return { ...one, outcome: survivors.has(String(one.pid)) ? 'STILL RUNNING' : 'ended' };
  });
  // What still runs needs its configuration.
  const quiet = options.dryRun !== true && rows.every(({ outcome }) => outcome === 'ended');
  if (putBack === undefined || !quiet) return { rows, restored: [] };
  const command = runtime.wrap(putBack, { runId: 'clean', groupId: groupId(0), rank: 0 });
  const said = await executor.run(command, { signal, timeout });
  const restored = [...said.stdout.matchAll(/^restored (.+)$/gm)].map(
    ([, path]) => `${executor.host}: ${String(path)}`,
  );
  return { rows, restored };
}

function distinct(rows: readonly Row[]): Row[] {
  return [...new Map(rows.map((row) => [`${row.boot}/${row.pid}`, row])).values()];
}

/** Hosts by the usual flags, else those of the configuration, else those of the newest run. */
async function load(options: CleanOptions): Promise<Loaded> {
  const named =
    options.hostfile ??
    options.nodeString ??
    options.config ??
    (options.parallel === true ? 'yes' : undefined);
  if (named !== undefined) return loadHosts(options);
  const output = options.output ?? 'result';
  const newest = newestRun(output);
  if (newest !== undefined) return loadSavedSettings(output, newest);
  return loadHosts(options);
}

/**
 * Cleaning needs hosts, neither groups nor fields: every host of a list counts, and where nothing to tune is configured
 * the engine that needs no configuration stands in.
 */
async function loadHosts(options: CleanOptions): Promise<Loaded> {
  const flat = { ...options, nodesPerGroup: 1 };
  try {
    return await loadSettings(flat);
  } catch (error) {
    if (options.hostfile === undefined && options.nodeString === undefined) throw error;
    if (!(error instanceof ConfigurationError) || options.config !== undefined) throw error;
    return await loadSettings({ ...flat, engine: 'emulator' });
  }
}

function table(rows: readonly Row[], asked: number, unknown: number): string {
  if (rows.length === 0 && unknown === asked) return '';
  const where = unknown === 0 ? '' : ` on the ${asked - unknown} of ${asked} hosts that could be looked at`;
  if (rows.length === 0) return `nothing of ours is running${where}\n`;
  const cells = rows.map((row) => [
    row.host,
    row.run,
    `group ${row.group}`,
    String(row.pid),
    row.name,
    row.outcome,
  ]);
  return columns(cells);
}

/** What is shared by those who look at a node. */
interface Cluster {
  readonly settings: Settings;
  readonly connector: Connector;
}

async function onNode(
  node: NodeConfig,
  group: ServiceGroupConfig,
  { settings: { runtime, engine, engineConfig }, connector }: Cluster,
  options: CleanOptions,
  signal: AbortSignal,
): Promise<Cleaned & { readonly error?: unknown }> {
  try {
    await using executor = await connector.connect(node, signal, { retry: true });
    const putBack = engineNamed(engine).putBack?.(engineConfig, node, group);
    return await cleanNode(executor, runtimeOf(runtime), putBack, options, signal);
  } catch (error) {
    return { rows: [], restored: [], error };
  }
}

/** Ends what dead runs of ours left behind, by token. @returns 0, or 3 when a node could not be cleaned */
export async function clean(options: CleanOptions): Promise<number> {
  let loaded: Loaded;
  try {
    loaded = await load(options);
  } catch (error) {
    return printFailure(error, exitCodes.usage, options.json === true);
  }
  const { settings } = loaded;
  const nodes = settings.parallel.service_groups.flatMap((group) =>
    group.nodes.map((node) => ({ node, group })),
  );
  await askForPassphrases(settings);
  using stop = stopOnSignals(() => process.stderr.write('stopping\n'));
  const { acceptNewHostKeys = false } = options;
  const cluster = { settings, connector: connectorOf({ ...settings, acceptNewHostKeys }) };
  const results = await settleAll(
    nodes.map(async ({ node, group }) => onNode(node, group, cluster, options, stop.signal)),
  );
  const restored = results.flatMap((result) => result.restored);
  const rows = distinct(results.flatMap((result) => result.rows));
  const failures = results.flatMap((result) =>
    result.error === undefined ? [] : [asOptimizerError(result.error)],
  );
  if (options.json === true) {
    const listed = rows.map(({ host, run, group, pid, name, outcome }) => ({
      host,
      run_id: run,
      group_id: Number(group),
      pid,
      name,
      outcome,
    }));
    process.stdout.write(
      `${JSON.stringify({ schema: 1, processes: listed, restored, errors: failures.map(({ message }) => message) }, null, 2)}\n`,
    );
  } else
    process.stdout.write(
      table(rows, nodes.length, failures.length) + restored.map((path) => `put back ${path}\n`).join(''),
    );
  for (const failure of failures) process.stderr.write(`error: ${failure.message}\n  → ${failure.remedy}\n`);
  const unclean = failures.length > 0 || rows.some((row) => row.outcome === 'STILL RUNNING');
  return unclean ? exitCodes.infrastructure : 0;
}
