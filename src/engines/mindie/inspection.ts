import type { JsonObject } from '../../core/space/config-document.ts';
import type { Command } from '../../parallel/ports.ts';
import type { MindieConfig } from './config.ts';

/** What is found out on a node of MindIE. */
export interface MindieNode {
  readonly daemon: string | undefined;
  readonly configPath: string | undefined;
  /** Takes its configuration from MIES_CONFIG_JSON_PATH. */
  readonly knowsEnv: boolean;
  /** RoCE addresses by device id. */
  readonly deviceAddresses: ReadonlyMap<number, string>;
  readonly config: JsonObject | undefined;
  /** The model's own config.json. */
  readonly model: JsonObject | undefined;
  readonly memory: { readonly totalMb: number; readonly usedPercent: number } | undefined;
}

const usualConfig = '/usr/local/Ascend/mindie/latest/mindie-service/conf/config.json';
/** Beside the edited file; whoever finds it puts it back. */
export const originalSuffix = '.optimizer-original';

/** $1: a configured path or nothing. Leaves the path in $c. */
const findAndPutBack = `set -u
conf=$1; shift
for c in "$conf" "\${MIES_CONFIG_JSON_PATH:-}" "\${MINDIE_LLM_HOME_PATH:-/nonexistent}/conf/config.json" "\${MIES_INSTALL_PATH:-/nonexistent}/conf/config.json" ${usualConfig}; do
  [ -n "$c" ] && [ -f "$c" ] && break
  c=
done
if [ -n "$c" ] && [ -f "$c${originalSuffix}" ]; then
  cat "$c${originalSuffix}" >"$c" && rm -f "$c${originalSuffix}" && echo "restored $c"
fi`;

/** The same; further words: device ids. */
const script = `${findAndPutBack}
daemon=$(command -v mindie_llm_server) && env=yes || {
  env=no
  daemon=\${MIES_INSTALL_PATH:-/usr/local/Ascend/mindie/latest/mindie-service}/bin/mindieservice_daemon
  [ -x "$daemon" ] || daemon=$(command -v mindieservice_daemon) || daemon=
  [ -n "$daemon" ] && grep -qs MIES_CONFIG_JSON_PATH "$daemon" && env=yes
}
echo "daemon $daemon"
echo "config $c"
echo "env $env"
for i in "$@"; do
  ip=$(hccn_tool -i "$i" -ip -g 2>/dev/null | sed -n 's/^ipaddr:[[:space:]]*//p')
  [ -n "$ip" ] && echo "ip $i $ip"
done
npu-smi info -t usages -i "\${1:-0}" 2>/dev/null | sed -n 's/^[[:space:]]*HBM Usage Rate(%)[[:space:]]*:[[:space:]]*/used /p' | head -n 1
npu-smi info -t memory -i "\${1:-0}" 2>/dev/null | sed -n 's/^[[:space:]]*HBM Capacity(MB)[[:space:]]*:[[:space:]]*/total /p' | head -n 1
[ -n "$c" ] || exit 0
weights=$(sed -n 's/.*"modelWeightPath"[[:space:]]*:[[:space:]]*"\\([^"]*\\)".*/\\1/p' "$c" | head -n 1)
echo '--- config.json'
cat "$c"
echo
echo '--- model'
[ -f "$weights/config.json" ] && cat "$weights/config.json"
:`;

export function inspectionCommand(
  { config_path: path }: MindieConfig,
  ids: readonly number[],
  env: Readonly<Record<string, string>>,
): Command {
  const words = [path ?? '', ...ids.map(String)];
  return { argv: ['sh', '-c', script, 'sh', ...words], label: 'looking at MindIE', env };
}

export function putBackCommand(
  { config_path: path }: MindieConfig,
  env: Readonly<Record<string, string>>,
): Command {
  const argv = ['sh', '-c', findAndPutBack, 'sh', path ?? ''] as const;
  return { argv, label: 'putting the configuration back', env };
}

function parsed(text: string | undefined): JsonObject | undefined {
  if (text === undefined || text.trim() === '') return undefined;
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    return undefined;
  }
}

/** What the inspection printed; undefined before there was one. */
export function parseInspection(stdout: string | undefined): MindieNode | undefined {
  if (stdout === undefined) return undefined;
  const [head = '', config, model] = stdout.split(/^--- (?:config\.json|model)\n/m);
  const lines = head.split('\n').map((line) => line.split(' '));
  const word = (name: string): string | undefined => {
    const value = lines
      .find(([first]) => first === name)
      ?.slice(1)
      .join(' ');
    return value === undefined || value === '' ? undefined : value;
  };
  const ips = lines.flatMap(([first, id, ip]): [number, string][] =>
    first === 'ip' && ip !== undefined ? [[Number(id), ip]] : [],
  );
  const [total, used] = [Number(word('total')), Number(word('used'))];
  return {
    daemon: word('daemon'),
    configPath: word('config'),
    knowsEnv: word('env') === 'yes',
    deviceAddresses: new Map(ips),
    config: parsed(config),
    model: parsed(model),
    memory: Number.isNaN(total) || Number.isNaN(used) ? undefined : { totalMb: total, usedPercent: used },
  };
}
