import type { z } from 'zod';
import { ConfigurationError } from '../../base/errors.ts';
import { fromSeconds } from '../../base/units.ts';
import { fieldsSchema } from '../../config/schema-tables.ts';
import { table, text } from '../../config/schema-types.ts';
import { formatUrl, healthUrl } from '../../config/url-template.ts';
import { placeParams } from '../../core/space/config-document.ts';
import type { Field, ServingParams } from '../../core/space/field.ts';
import { valueText } from '../../core/space/format.ts';
import type {
  Command,
  Engine,
  GroupTopology,
  LaunchPlan,
  PlannedProcess,
  TopologyNode,
} from '../../parallel/ports.ts';
import { words } from '../../base/words.ts';
import { allPatterns } from '../all-patterns.ts';
import { deviceVariables } from '../shape.ts';

const scriptConfig = table({
  model: text()
    .optional()
    .meta({ description: 'name that requests use', usual: 'the first id of `/v1/models`' }),
  base_url: text()
    .optional()
    .meta({ description: 'where requests go', usual: 'origin of `health_check_url`' }),
  target_field: fieldsSchema().default([]).describe('[fields](../configuration.md#fields) of your own'),
});
type ScriptConfig = z.infer<typeof scriptConfig>;

function environment(
  fields: readonly Field[],
  params: ServingParams,
  topology: GroupTopology,
  node: TopologyNode,
): Record<string, string> {
  const tuned = fields.flatMap((field): [string, string][] => {
    const value = params[field.name];
    return field.config_position === 'env' && value !== undefined
      ? [[field.name, valueText(value, field)]]
      : [];
  });
  const addresses = topology.nodes.map(({ address }) => address);
  return {
    ...node.env,
    ...Object.fromEntries(tuned),
    ...deviceVariables(node),
    OPTIMIZER_RUN_ID: topology.runId,
    OPTIMIZER_TRIAL_ID: String(topology.trialId),
    GROUP_ID: String(topology.groupId),
    NNODES: String(topology.nodes.length),
    NODE_RANK: String(node.rank),
    MASTER_ADDR: addresses[0] ?? '',
    MASTER_PORT: String(topology.masterPort),
    GROUP_HOSTS: addresses.join(','),
    // The one of health_check_url, which groups that share a host have for themselves.
    SERVICE_PORT: new URL(healthUrl(topology.settings, addresses[0] ?? '')).port,
  };
}

/** A script may be given with arguments, as it always could; they are split as a shell would. */
function argv(script: string, ...more: string[]): Command['argv'] {
  const [first, ...rest] = words(script, 'a script');
  if (first === undefined)
    throw new ConfigurationError('start_script is empty', {}, { remedy: 'Give the path of a start script.' });
  return [first, ...rest, ...more];
}

/**
 * Anything with a start script: `<start_script> --config <config_path>` on the master, the optional worker script
 * the same way on every other node before it.
 */
export const scriptEngine: Engine<ScriptConfig> = {
  name: 'script',
  config: scriptConfig,
  logPatterns: allPatterns,
  fieldsOf: (config) => config.target_field,

  plan(config, params, topology): LaunchPlan {
    const { settings, nodes } = topology;
    const fields = config.target_field;
    const document = `${JSON.stringify(placeParams(params, fields), null, 2)}\n`;
    const process = (
      node: TopologyNode,
      role: string,
      script: string,
      withConfig = true,
    ): PlannedProcess => ({
      rank: node.rank,
      role,
      command: {
        argv: withConfig ? argv(script, '--config', node.configPath) : argv(script),
        cwd: node.workDir,
        env: environment(fields, params, topology, node),
      },
    });
    const { worker_script: worker, start_script: start, stop_script: stop } = settings;
    const timeout = fromSeconds(settings.health_check_timeout);
    const masters = nodes.slice(0, 1);
    const workers = worker === undefined ? [] : nodes.slice(1);
    const url = healthUrl(settings, nodes[0]?.address ?? '');
    const workerStage = {
      processes: workers.map((node) => process(node, 'worker', worker ?? '')),
      until: { kind: 'started' } as const,
      timeout,
    };
    const masterStage = {
      processes: masters.map((node) => process(node, 'master', start)),
      until: { kind: 'started' } as const,
      timeout,
    };
    return {
      files: [...masters, ...workers].map((node) => ({
        rank: node.rank,
        path: node.configPath,
        content: document,
      })),
      stages: workers.length === 0 ? [masterStage] : [workerStage, masterStage],
      probe: { url, expectStatus: 200 },
      stop: stop === undefined ? [] : masters.map((node) => process(node, 'stop', stop, false)),
      detached: stop !== undefined,
      silenceTimeout: fromSeconds(settings.start_silence_timeout),
      target: {
        baseUrl:
          config.base_url === undefined
            ? new URL(url).origin
            : formatUrl(config.base_url, nodes[0]?.address ?? ''),
        model: config.model,
      },
    };
  },
};
