import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import TOML from '@iarna/toml';
import writeFileAtomic from 'write-file-atomic';
import type { Field, ServingParams } from '../core/space/field.ts';
import { valueText } from '../core/space/format.ts';
import type { LaunchPlan } from '../parallel/ports.ts';

export interface BestFiles {
  readonly params: ServingParams;
  readonly fields: readonly Field[];
  readonly plan: LaunchPlan;
  readonly hosts: readonly string[];
  /** The configuration that the run was made with, and the name of its engine table. */
  readonly document: Readonly<Record<string, unknown>>;
  readonly engine: string;
  readonly quote: (word: string) => string;
}

/** A start script for every node, in the order of the plan. */
export function launchScript({ plan, hosts, quote }: Pick<BestFiles, 'plan' | 'hosts' | 'quote'>): string {
  const files = plan.files.map(
    ({ rank, path }) => `# config.json → ${path} on ${hosts[rank] ?? `node ${rank}`}\n`,
  );
  const steps = plan.stages.flatMap(({ processes }) =>
    processes.map(({ rank, role, command }) => {
      const env = Object.entries(command.env ?? {}).filter(([name]) => !name.startsWith('OPTIMIZER_'));
      const words = [...env.map(([name, value]) => `${name}=${quote(value)}`), ...command.argv.map(quote)];
      const cd = command.cwd === undefined ? '' : `cd ${quote(command.cwd)} && `;
      return `# ${role} on ${hosts[rank] ?? `node ${rank}`}\n${cd}env ${words.join(' ')}\n`;
    }),
  );
  return `#!/bin/sh\n# How the recommended configuration is started, node by node.\n${files.join('')}${steps.join('')}# healthy when ${plan.probe.url} answers ${plan.probe.expectStatus}\n`;
}

/** The user's configuration with the recommended values as the present ones. */
function tunedDocument({ document, engine, params }: BestFiles): string {
  const table = document[engine] as { target_field?: { name: string }[] } | undefined;
  const fields = table?.target_field?.map((field) => ({ ...field, value: params[field.name] }));
  const tuned =
    fields === undefined ? document : { ...document, [engine]: { ...table, target_field: fields } };
  return TOML.stringify(JSON.parse(JSON.stringify(tuned)) as TOML.JsonMap);
}

/** Writes config.json, env, launch.sh and config.toml of the recommendation; the names relative to the run. */
export async function writeBest(directory: string, best: BestFiles): Promise<Record<string, string>> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
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
