import { defaultWorkDir } from '../config/parallel-config.ts';
import type { Command } from '../parallel/ports.ts';
import { quote } from './quote.ts';
import { shell } from './scripts.ts';

/** What a node must have before a run, and a look at it that changes nothing there. */

export interface NodeNeeds {
  readonly workDir: string;
  /** Of the service, where this node answers. */
  readonly port: number | undefined;
  /** Words of the engine's command; undefined where a script starts it. */
  readonly executable: readonly string[] | undefined;
  /** Scripts and programs that are started here, as the plan says. */
  readonly programs: readonly string[];
  /** A path; undefined where the model is a name of a hub, or the engine's own affair. */
  readonly model: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

export interface NodeLook {
  readonly user: string | undefined;
  /** ms since 1970, by the node's clock. */
  readonly clockMs: number | undefined;
  /** Why the work directory cannot be used; undefined where it can. */
  readonly workDirFault: string | undefined;
  readonly freeBytes: number | undefined;
  /** Of util-linux and /proc, what is missing. */
  readonly missing: readonly string[];
  readonly portTaken: boolean;
  readonly missingPrograms: readonly string[];
  /** What the engine says of its version; undefined where it was not asked or does not tell. */
  readonly version: string | undefined;
  /** null: it is not there. undefined: it was not looked for. */
  readonly modelBytes: number | null | undefined;
  readonly devices: { readonly tool: string; readonly ids: readonly number[] } | undefined;
  /** Of sshd, where its configuration can be read. */
  readonly limits: Readonly<Record<string, string>>;
}

/** Beginnings of lines of the look. */
const script = ({ workDir, port, executable, programs, model }: NodeNeeds): string => `
tell() { printf '%s\\t%s\\n' "$1" "$2"; }
tell user "$(id -un)"
tell clock "$(date +%s%3N)"
d=${quote(workDir)}
if [ -e "$d" ] && [ ! -O "$d" ] && ${workDir === defaultWorkDir ? 'true' : 'false'}; then d=$d-$(id -u); fi
if [ -e "$d/runs" ] && { [ ! -O "$d/runs" ] || [ -h "$d/runs" ]; }; then tell fault "$d/runs belongs to another user"; fi
at=$d/runs
while [ ! -e "$at" ]; do at=$(dirname "$at"); done
if [ ! -d "$at" ]; then tell fault "$at is a file"; elif [ ! -w "$at" ]; then tell fault "$at is not writable"; fi
tell free "$(df -Pk "$at" | awk 'NR == 2 { print $4 }')"
for tool in setsid flock; do command -v $tool >/dev/null || tell missing "$tool (util-linux)"; done
[ -r /proc/self/environ ] || tell missing /proc
${port === undefined ? '' : `hex=$(printf %04X ${port}); grep -hiqs "^ *[0-9]*: [0-9A-F]*:$hex [0-9A-F]*:0000 0A" /proc/net/tcp /proc/net/tcp6 && tell port taken`}
cd "$d" 2>/dev/null || cd /
for program in ${programs.map(quote).join(' ')}; do command -v "$program" >/dev/null || tell program "$program"; done
${
  executable === undefined
    ? ''
    : `set -- ${executable.map(quote).join(' ')}
if command -v "$1" >/dev/null; then tell version "$(timeout 60 "$@" --version 2>&1 </dev/null | awk '/^version/ { said = $0 } { last = $0 } END { print said == "" ? last : said }')"; else tell program "$1"; fi`
}
${model === undefined ? '' : `size=$(du -sLk ${quote(model)} 2>/dev/null | cut -f 1); tell model "\${size:-none}"`}
if command -v npu-smi >/dev/null 2>&1; then npu-smi info 2>/dev/null | grep -E '[0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:' | awk '{ print "npu\\t" NR - 1 }'
elif command -v nvidia-smi >/dev/null 2>&1; then nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null | awk '{ print "gpu\\t" $1 }'; fi
cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*.conf 2>/dev/null | awk 'tolower($1) ~ /^(maxsessions|maxstartups)$/ { print "limit\\t" $1 " " $2 }'
:`;

export const lookCommand = (needs: NodeNeeds): Command => ({
  ...shell(script(needs), 'looking around'),
  env: needs.env,
});

/** What the script said; lines of anything else are nobody's. */
export function parseLook(stdout: string): NodeLook {
  const lines = stdout.split('\n').flatMap((line): [string, string][] => {
    const tab = line.indexOf('\t');
    return tab === -1 ? [] : [[line.slice(0, tab), line.slice(tab + 1).trim()]];
  });
  const all = (name: string): string[] => lines.filter(([key]) => key === name).map(([, value]) => value);
  const one = (name: string): string | undefined => all(name).find((value) => value !== '');
  const number = (name: string): number | undefined => {
    const value = Number(one(name));
    return one(name) === undefined || !Number.isFinite(value) ? undefined : value;
  };
  const kilobytes = number('free');
  const model = one('model');
  const tool = (['npu', 'gpu'] as const).find((kind) => all(kind).length > 0);
  return {
    user: one('user'),
    clockMs: number('clock'),
    workDirFault: one('fault'),
    freeBytes: kilobytes === undefined ? undefined : kilobytes * 1024,
    missing: all('missing'),
    portTaken: one('port') !== undefined,
    missingPrograms: all('program'),
    version: one('version'),
    modelBytes: model === undefined ? undefined : model === 'none' ? null : Number(model) * 1024,
    devices: tool === undefined ? undefined : { tool, ids: all(tool).map(Number) },
    limits: Object.fromEntries(
      all('limit')
        // The first one counts, as for sshd.
        .reverse()
        .map((text) => {
          const [name = '', value = ''] = text.split(' ');
          return [name.toLowerCase(), value];
        }),
    ),
  };
}
