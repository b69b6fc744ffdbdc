import type { Command, OptionValues } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../config/duration.ts';
import type { Flags } from '../config/settings.ts';

/** What commander hands to an action. */
export interface CliOptions extends Flags {
  readonly config?: string;
  readonly hostfile?: string;
  readonly nodeString?: string;
  readonly nodesPerGroup: number;
  readonly include?: string;
  readonly exclude?: string;
  readonly loadBreakpoint?: boolean;
  /** A run, a table or a list to begin with. */
  readonly from?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  /** Layouts of other tools to write the results in as well. */
  readonly export?: 'vllm-sweep';
  /** A shell command for the end of the run. */
  readonly onFinish?: string;
  readonly quiet?: boolean;
  readonly events?: 'json';
  readonly logLevel: string;
}

/** A subcommand's options, with those that stand before it: `optimizer --json resume` means `resume --json`. */
export function optionsOf(command: Command): OptionValues {
  const { parent } = command;
  if (parent === null) return command.opts();
  const before = Object.entries(optionsOf(parent)).filter(
    ([name]) => isGiven(parent, name) && command.getOptionValueSource(name) !== 'cli',
  );
  return { ...command.opts(), ...Object.fromEntries(before) };
}

const isGiven = (command: Command, name: string): boolean =>
  command.getOptionValueSource(name) === 'cli' || (command.parent !== null && isGiven(command.parent, name));

/** Whose files `init` writes. */
export const initEngines = ['script', 'vllm', 'sglang', 'mindie', 'llamacpp'] as const;

/** What `runs export` writes. */
export const exportFormats = ['optuna', 'vllm-sweep', 'csv', 'json'] as const;

export function wholeNumber(minimum: number, maximum = Infinity) {
  return (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < minimum || value > maximum) {
      const most = maximum === Infinity ? '' : ` and at most ${maximum}`;
      throw new InvalidArgumentError(`It must be a whole number, at least ${minimum}${most}.`);
    }
    return value;
  };
}

function duration(text: string): number {
  const seconds = parseDuration(text);
  if (seconds === undefined) throw new InvalidArgumentError('It must be a time such as 2h, 90min or 45s.');
  return seconds;
}

export function hostOptions(command: Command): Command {
  return command
    .option('-c, --config <file>', 'configuration file; without it the usual places are read')
    .option('--parallel', 'evaluate on service groups reached by SSH')
    .addOption(
      new Option('--launcher <kind>', 'how commands get to nodes: over SSH, or as job steps').choices([
        'ssh',
        'slurm',
      ]),
    )
    .option('--hostfile <file>', 'hosts of the groups; - reads standard input')
    .option('--nodes-per-group <n>', 'hosts a group, with --hostfile', wholeNumber(1), 2)
    .option(
      '--npus-per-node <n>',
      'devices a host (8 unless the configuration says otherwise)',
      wholeNumber(1),
    )
    .option('--groups-per-node <n>', 'services on the same hosts, which share their devices', wholeNumber(1))
    .option('--node-string <text>', 'hosts of the groups: "n0,n1:n2,n3" or "node[01-04]:node[05-08]"')
    .option('--include <text>', 'of these hosts only some, or some of their devices: "n0:0,1@n1"')
    .option('--exclude <text>', 'of these hosts all but some, or but some of their devices')
    .option('-i, --identity <file>', 'SSH key')
    .option('--user <name>', 'SSH user')
    .option('--ssh-port <n>', 'SSH port', wholeNumber(1, 65_535))
    .option('-F, --ssh-config <file>', 'ssh_config in place of ~/.ssh/config')
    .option('--accept-new-host-keys', 'learn host keys that are unknown; changed ones are always refused');
}

export function outputOptions(command: Command): Command {
  return command
    .option('--output <dir>', 'result directory (default: the key output, else ./result)')
    .option('--json', 'print exactly one JSON document on stdout')
    .option('--quiet', 'only the answer')
    .option(
      '--on-finish <command>',
      'shell command for the end: OPTIMIZER_RUN_ID, _STATUS, _EXIT_CODE and _RUN_DIR are in its environment',
    )
    .addOption(
      new Option('--events <format>', 'stream one event a line on stdout')
        .choices(['json'])
        .conflicts('json'),
    )
    .addOption(
      new Option('--log-level <level>', 'detail of the log in the run directory')
        .choices(['trace', 'debug', 'info', 'warn', 'error'])
        .default('info'),
    );
}

export function tuneOptions(command: Command): Command {
  return command
    .option('-e, --engine <name>', 'inference engine')
    .option('-b, --benchmark-policy <name>', 'benchmark')
    .option('-l, --load-breakpoint', 'go on with the newest unfinished run (also -lb)')
    .option(
      '--from <what>',
      'begin with what is known: a run, a CSV of the original, or a JSON list of configurations',
    )
    .option('--seed <n>', 'seed of the search and of the load', wholeNumber(0))
    .option(
      '--slo <text>',
      'an SLO, such as "ttft:p99<=500ms", "tpot:mean<=50ms soft", "success>=0.99"; give one flag each',
      (text: string, before: readonly string[] | undefined) => [...(before ?? []), text],
    )
    .addOption(
      new Option('--objective <name>', 'what is best within the SLOs (throughput unless configured)').choices(
        ['throughput', 'goodput', 'fitness'],
      ),
    )
    .option('--budget <time>', 'wall clock of the run, such as 2h or 90min', duration)
    .option(
      '--max-evaluations <n>',
      'configurations that are measured at most (n_particles × iters unless configured)',
      wholeNumber(1),
    )
    .option('--backup', 'keep a copy of the files of every trial in <output>/bak, up to 1 GiB')
    .option('--slurm <options>', 'make an allocation of Slurm for the run, with these options of sbatch')
    .option('--simulate', 'a model in place of machines, on a virtual clock: no hosts, no sockets')
    .option('--dry-run', 'show what would be done, and do nothing')
    .addOption(
      new Option('--export <layout>', 'write the results in the layout of another tool as well').choices([
        'vllm-sweep',
      ]),
    )
    .addOption(
      new Option(
        '-d, --deploy-policy <policy>',
        "accepted from the original's command lines, without effect",
      ).choices(['single', 'multiple']),
    )
    .addOption(
      new Option('--pd <mode>', 'prefill and decode together or apart').choices([
        'competition',
        'disaggregation',
      ]),
    );
}
