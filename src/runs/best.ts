import { join } from 'node:path';
import TOML from '@iarna/toml';
import writeFileAtomic from 'write-file-atomic';
import { settleAll } from '../base/cancellation.ts';
import { makeDirectory } from './directory.ts';
import { redactSecrets } from '../base/redact.ts';
import type { Field, ServingParams } from '../core/space/field.ts';
import { valueText } from '../core/space/format.ts';
import type { EngineNeeds, GroupTopology, LaunchPlan } from '../parallel/ports.ts';
import { launchScript } from './launch-script.ts';

export interface BestFiles {
  readonly params: ServingParams;
  readonly fields: readonly Field[];
  readonly plan: LaunchPlan;
  readonly topology: GroupTopology;
  readonly needs: EngineNeeds;
  /** The configuration that the run was made with, and the names of its tables with fields. */
  readonly document: Readonly<Record<string, unknown>>;
  readonly engine: string;
  readonly benchmark: string;
  readonly quote: (word: string) => string;
}

interface ToolTable {
  readonly target_field?: readonly { readonly name: string; readonly value?: unknown }[];
}

/** The user's configuration with the recommended values as the present ones. */
function tunedDocument({ document, engine, benchmark, params, fields }: BestFiles): string {
  const tables = [engine, benchmark].map((name) => [name, (document[name] ?? {}) as ToolTable] as const);
  const named = new Set(tables.flatMap(([, { target_field: own = [] }]) => own.map(({ name }) => name)));
  // Fields that the engine has by itself are written out, for the sake of their values.
  const written = fields.filter(({ name }) => !named.has(name));
  const tuned = {
    ...document,
    ...Object.fromEntries(
      tables.flatMap(([name, { target_field: own = [], ...table }]) => {
        const all = [...own, ...(name === engine ? written : [])].map((field) => ({
          ...field,
          value: params[field.name] ?? field.value,
        }));
        if (all.length > 0) return [[name, { ...table, target_field: all }]];
        return document[name] === undefined ? [] : [[name, table]];
      }),
    ),
  };
  // A secret is left out: whoever starts from this file has it in the environment, or adds it.
  const shown = JSON.parse(
    JSON.stringify(tuned, (key, value: unknown) =>
      value !== null && redactSecrets(key, value) === value ? value : undefined,
    ),
  ) as TOML.JsonMap;
  return TOML.stringify(shown);
}

/** Writes the files of the recommendation. @returns their paths in the run's directory, by the names of summary.json */
export async function writeBest(directory: string, best: BestFiles): Promise<Record<string, string>> {
  makeDirectory(directory, 0o700);
  const { plan, topology, quote } = best;
  // Its YAML library takes as long to load as the rest of a run; nobody waits for it here.
  const { deploymentFiles } = await import('./deployment.ts');
  const env = best.fields
    .filter((field) => field.config_position === 'env' && best.params[field.name] !== undefined)
    .map((field) => `${field.name}=${quote(valueText(best.params[field.name] as never, field))}\n`);
  const files: Record<string, string> = {
    'config.json': plan.files[0]?.content ?? '{}\n',
    env: env.join(''),
    'plan.json': `${JSON.stringify(plan, redactSecrets, 2)}\n`,
    'launch.sh': launchScript({ plan, hosts: topology.nodes.map(({ host }) => host), quote }),
    'config.toml': tunedDocument(best),
    ...deploymentFiles(best),
  };
  await settleAll(
    Object.entries(files).map(async ([name, content]) => {
      const mode = name === 'launch.sh' ? 0o700 : 0o600;
      await writeFileAtomic(join(directory, name), content, { mode, fsync: false });
    }),
  );
  const paths: Record<string, string> = {
    best_config: 'best/config.json',
    best_env: 'best/env',
    best_launch: 'best/launch.sh',
    best_toml: 'best/config.toml',
    best_kubernetes: 'best/kubernetes.yaml',
    best_systemd: 'best/service@.service',
  };
  return Object.fromEntries(Object.entries(paths).filter(([, path]) => path.slice('best/'.length) in files));
}
