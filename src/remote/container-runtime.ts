import type { RuntimeTable } from '../config/schema-tables.ts';
import type { Command, Owner, Runtime } from '../parallel/ports.ts';
import { hostRuntime } from './host-runtime.ts';
import { quote } from './quote.ts';
import { census, counter, reaper, reaping, shell } from './scripts.ts';

/** Words that reach the container tool, with its client's variables where it runs as another user. */
function tool({ kind, tool: name, sudo }: RuntimeTable, variables: readonly string[]): string[] {
  const program = kind === 'exec' ? name : kind;
  if (!sudo) return [program];
  return [
    'sudo',
    '-n',
    ...(variables.length === 0 ? [] : [`--preserve-env=${variables.join(',')}`]),
    program,
  ];
}

const words = (list: readonly string[]): string => list.map(quote).join(' ');

/** Values are taken from the client's environment: on the command line others could read them. */
const variableWords = (env: Command['env'] = {}): string[] =>
  Object.keys(env).flatMap((name) => ['--env', name]);

/** A container a process, named by labels; the client in the foreground stands for it. */
function containers(table: RuntimeTable): Runtime {
  const client = words(tool(table, []));
  const listed = (token: string): string =>
    `${client} ps -q --filter ${quote(`label=optimizer.token=${token}`)}`;
  return {
    name: table.kind,
    token: (owner) => hostRuntime.token(owner),
    dismiss: (token) => hostRuntime.dismiss(token),
    wrapOnHost: (command, owner) => hostRuntime.wrap(command, owner),

    wrap(command, owner) {
      const onHost = hostRuntime.wrap(command, owner);
      const env = onHost.env ?? {};
      const labels = {
        'optimizer.run': owner.runId,
        'optimizer.group': String(owner.groupId),
        'optimizer.rank': String(owner.rank),
        'optimizer.token': hostRuntime.token(owner),
        'optimizer.controller': env['OPTIMIZER_CONTROLLER'] ?? '',
      };
      const directory =
        command.cwd === undefined
          ? []
          : ['--volume', `${command.cwd}:${command.cwd}`, '--workdir', command.cwd];
      return {
        ...onHost,
        argv: [
          ...tool(table, Object.keys(env)),
          ...['run', '--rm', ...(command.stdin === undefined ? [] : ['--interactive'])],
          ...Object.entries(labels).flatMap(([name, value]) => ['--label', `${name}=${value}`]),
          ...['--network', 'host', '--ipc', 'host', ...directory],
          ...variableWords(env),
          ...table.args,
          // Images of engines have an entry point of their own.
          ...['--entrypoint', command.argv[0], table.image ?? ''],
          ...command.argv.slice(1),
        ] as [string, ...string[]],
      };
    },

    // The client may be gone while its container lives: both are ended, and the last word has the label.
    reap: (token, grace, known) =>
      reaping(
        `ids=$(${listed(token)})
[ -n "$ids" ] && ${client} stop --time ${Math.ceil(grace / 1000)} $ids >/dev/null 2>&1
(
${reaper(token, grace)})
ids=$(${listed(token)})
[ -n "$ids" ] && ${client} rm --force $ids >/dev/null 2>&1
for id in $(${listed(token)}); do echo "$id container"; done
:`,
        known,
        'ending owned containers',
      ),

    count: (token) =>
      shell(
        `n=$(
${counter(token)})
echo $((n + $(${listed(token)} | grep -c .)))`,
        'counting owned containers',
      ),

    census: () =>
      shell(
        `(
${census})
IFS= read -r boot </proc/sys/kernel/random/boot_id
${client} ps --filter label=optimizer.token --format '{{.ID}}|{{.Label "optimizer.run"}}|{{.Label "optimizer.group"}}|{{.Label "optimizer.token"}}|{{.Label "optimizer.controller"}}|container' |
while IFS= read -r line; do echo "$line|$boot"; done
:`,
        'looking for containers of runs',
      ),
  };
}

/** Inside a container that the user keeps up: processes are found there by their token. */
function inside(table: RuntimeTable): Runtime {
  const container = table.container ?? '';
  const within = (script: string): string =>
    words([...tool(table, []), 'exec', container, 'sh', '-c', script]);
  return {
    name: 'exec',
    token: (owner) => hostRuntime.token(owner),
    dismiss: (token) => hostRuntime.dismiss(token),
    wrapOnHost: (command, owner) => hostRuntime.wrap(command, owner),

    wrap(command, owner: Owner) {
      const onHost = hostRuntime.wrap(command, owner);
      const env = onHost.env ?? {};
      return {
        ...onHost,
        argv: [
          ...tool(table, Object.keys(env)),
          ...['exec', ...(command.stdin === undefined ? [] : ['--interactive'])],
          ...(command.cwd === undefined ? [] : ['--workdir', command.cwd]),
          ...variableWords(env),
          ...table.args,
          container,
          ...command.argv,
        ] as [string, ...string[]],
      };
    },

    reap: (token, grace, known) =>
      reaping(`${within(reaper(token, grace))}\n${reaper(token, grace)}`, known, 'ending owned processes'),
    count: (token) =>
      shell(
        `a=$(${within(counter(token))})\nb=$(\n${counter(token)})\necho $((a + b))`,
        'counting owned processes',
      ),
    census: () => shell(`${within(census)}\n(\n${census})`, 'looking for processes of runs'),
  };
}

/** Where services run: on the host, in containers of their own, or in one that is there. */
export function runtimeOf(table: RuntimeTable): Runtime {
  if (table.kind === 'host') return hostRuntime;
  return table.kind === 'exec' ? inside(table) : containers(table);
}
