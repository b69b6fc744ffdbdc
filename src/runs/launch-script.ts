import { redactSecrets } from '../base/redact.ts';
import type { Command, LaunchPlan, PlannedProcess, Stage } from '../parallel/ports.ts';

type Quote = (word: string) => string;

/** `NAME=value`; what looks like a secret is taken from the environment of who starts it. */
function assignment([name, value]: [string, string], quote: Quote): string {
  return redactSecrets(name, value) === value ? `${name}=${quote(value)}` : `${name}="\${${name}:?}"`;
}

/** What starts a process of a plan by hand; what was there for its measurement is left out. */
export function processLine(
  { command, scaffold = [] }: Pick<PlannedProcess, 'command' | 'scaffold'>,
  quote: Quote,
): string {
  const env = Object.entries(command.env ?? {}).filter(
    ([name]) => !name.startsWith('OPTIMIZER_') && !scaffold.includes(name),
  );
  return ['env', ...env.map((pair) => assignment(pair, quote)), ...command.argv.map(quote)].join(' ');
}

const inDirectory = ({ cwd }: Command, quote: Quote): string =>
  cwd === undefined ? '' : `  cd ${quote(cwd)} || exit\n`;

/** Whatever a node starts: the last of it in place of the shell, what it needs before that beside it. */
function startsOf(stages: readonly Stage[], rank: number, quote: Quote): string {
  const mine = stages.flatMap(({ processes }) => processes.filter((one) => one.rank === rank));
  const last = mine.at(-1);
  const lines: string[] = [];
  for (const { processes, until } of stages) {
    for (const process of processes.filter((one) => one.rank === rank)) {
      lines.push(`  # ${process.role}\n`, inDirectory(process.command, quote));
      const line = processLine(process, quote);
      if (process !== last) lines.push(`  ${line} &\n  trap "kill $!" EXIT; trap 'exit 143' INT TERM\n`);
      // A shell that has others to end stays until it can.
      else lines.push(mine.length > 1 ? `  ${line}\n` : `  exec ${line}\n`);
    }
    if (last !== undefined && processes.includes(last)) break;
    if (until.kind === 'command' && until.rank === rank) {
      lines.push(`  until ${processLine(until, quote)} >/dev/null 2>&1; do sleep 2; done\n`);
    }
  }
  return lines.join('');
}

/** A script that starts what the plan starts on one node; its argument is the node's rank. */
export function launchScript({
  plan,
  hosts,
  quote,
}: {
  readonly plan: LaunchPlan;
  readonly hosts: readonly string[];
  readonly quote: Quote;
}): string {
  const inOrder = [...new Set(plan.stages.flatMap(({ processes }) => processes.map(({ rank }) => rank)))];
  const host = (rank: number): string => hosts[rank] ?? `node ${rank}`;
  const cases = [...inOrder]
    .sort((a, b) => a - b)
    .map((rank) => {
      const files = plan.files
        .filter((file) => file.rank === rank)
        .map(
          ({ path, content }) =>
            `  mkdir -p "$(dirname ${quote(path)})"\n  cat >${quote(path)} <<'CONFIGURATION'\n${content.trimEnd()}\nCONFIGURATION\n`,
        );
      return `${rank}) # ${host(rank)}\n${files.join('')}${startsOf(plan.stages, rank, quote)}  ;;\n`;
    });
  const order = inOrder.map((rank) => `#   on ${host(rank)}: sh launch.sh ${rank}\n`);
  return `#!/bin/sh
# Starts the recommended configuration on one node; without an argument, on the master. In this order:
${order.join('')}# Healthy when ${plan.probe.url} answers ${plan.probe.expectStatus}.
case \${1:-0} in
${cases.join('')}*) echo "there is no rank $1" >&2; exit 2 ;;
esac
`;
}
