import { join } from 'node:path';
import TOML from '@iarna/toml';
import writeFileAtomic from 'write-file-atomic';
import { makeDirectory } from './directory.ts';
import { redactSecrets } from '../base/redact.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import { valueText } from '../core/space/format.ts';
import type { LaunchPlan, PlannedProcess } from '../parallel/ports.ts';

export interface BestFiles {
  readonly params: ServingParams;
  readonly fields: readonly Field[];
  readonly plan: LaunchPlan;
  readonly hosts: readonly string[];
  /** The configuration that the run was made with, and the names of its tables with fields. */
  readonly document: Readonly<Record<string, unknown>>;
  readonly engine: string;
  readonly benchmark: string;
  readonly quote: (word: string) => string;
}

/** `NAME=value`; what looks like a secret is taken from the environment of who starts it. */
function assignment([name, value]: [string, string], quote: (word: string) => string): string {
  return redactSecrets(name, value) === value ? `${name}=${quote(value)}` : `${name}="\${${name}:?}"`;
}

/** What starts a process of a plan by hand; the tool's own marks are left out. */
export function processLine(
  { command }: Pick<PlannedProcess, 'command'>,
  quote: (word: string) => string,
): string {
  const env = Object.entries(command.env ?? {}).filter(([name]) => !name.startsWith('OPTIMIZER_'));
  return ['env', ...env.map((pair) => assignment(pair, quote)), ...command.argv.map(quote)].join(' ');
}

/** A script that starts what the plan starts on one node; its argument is the node's rank. */
export function launchScript({ plan, hosts, quote }: Pick<BestFiles, 'plan' | 'hosts' | 'quote'>): string {
  const ranks = [
    ...new Set(plan.stages.flatMap(({ processes }) => processes.map(({ rank }) => rank))),
  ].sort();
  const host = (rank: number): string => hosts[rank] ?? `node ${rank}`;
  const cases = ranks.map((rank) => {
    const files = plan.files
      .filter((file) => file.rank === rank)
      .map(
        ({ path, content }) =>
          `  mkdir -p "$(dirname ${quote(path)})"\n  cat >${quote(path)} <<'CONFIGURATION'\n${content.trimEnd()}\nCONFIGURATION\n`,
      );
    const processes = plan.stages.flatMap((stage) => stage.processes.filter((one) => one.rank === rank));
    const starts = processes.map((process, index) => {
      const { role, command } = process;
      const cd = command.cwd === undefined ? '' : `  cd ${quote(command.cwd)} || exit\n`;
      return `  # ${role}\n${cd}  ${index === processes.length - 1 ? 'exec ' : ''}${processLine(process, quote)}\n`;
    });
    return `${rank}) # ${host(rank)}\n${files.join('')}${starts.join('')}  ;;\n`;
  });
  const order = plan.stages.flatMap(({ processes }) =>
    processes.map(({ rank }) => `#   on ${host(rank)}: sh launch.sh ${rank}\n`),
  );
  return `#!/bin/sh
# Starts the recommended configuration on one node; without an argument, on the master. In this order:
${order.join('')}# Healthy when ${plan.probe.url} answers ${plan.probe.expectStatus}.
case \${1:-0} in
${cases.join('')}*) echo "there is no rank $1" >&2; exit 2 ;;
esac
`;
}

/** The user's configuration with the recommended values as the present ones. */
function tunedDocument({ document, engine, benchmark, params }: BestFiles): string {
  const tunedTable = (table: { target_field?: { name: string; value?: unknown }[] }): typeof table => ({
    ...table,
    ...(table.target_field === undefined
      ? {}
      : {
          target_field: table.target_field.map((field) => ({
            ...field,
            value: params[field.name] ?? field.value,
          })),
        }),
  });
  const tables = [engine, benchmark].filter((name) => document[name] !== undefined);
  const tuned = {
    ...document,
    ...Object.fromEntries(tables.map((name) => [name, tunedTable(document[name] as object)])),
  };
  // A secret is left out: whoever starts from this file has it in the environment, or adds it.
  const shown = JSON.parse(
    JSON.stringify(tuned, (key, value: unknown) => (redactSecrets(key, value) === value ? value : undefined)),
  ) as TOML.JsonMap;
  return TOML.stringify(shown);
}

/** Writes config.json, env, launch.sh and config.toml of the recommendation; the names relative to the run. */
export async function writeBest(directory: string, best: BestFiles): Promise<Record<string, string>> {
  makeDirectory(directory, 0o700);
  const env = best.fields
    .filter((field) => field.config_position === 'env' && best.params[field.name] !== undefined)
    .map((field) => `${field.name}=${best.quote(valueText(best.params[field.name] as never, field))}\n`);
  const files: Record<string, string> = {
    'config.json': best.plan.files[0]?.content ?? '{}\n',
    env: env.join(''),
    'launch.sh': launchScript(best),
    'config.toml': tunedDocument(best),
  };
  for (const [name, content] of Object.entries(files)) {
    await writeFileAtomic(join(directory, name), content, { mode: name === 'launch.sh' ? 0o700 : 0o600 });
  }
  return {
    best_config: 'best/config.json',
    best_env: 'best/env',
    best_launch: 'best/launch.sh',
    best_toml: 'best/config.toml',
  };
}
