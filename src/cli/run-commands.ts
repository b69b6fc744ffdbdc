import { Option, type Command } from 'commander';
import { didYouMean } from '../config/problems.ts';
import type { DashboardOptions } from './dashboard.ts';
import type { ExportOptions } from './export.ts';
import { exportFormats, optionsOf, wholeNumber } from './options.ts';
import type { RepairOptions, RunsOptions } from './runs.ts';
import type { ShowOptions } from './show.ts';

type Finish = (code: number) => void;

/** Where runs are looked for, and how they are told. */
function runOptions(command: Command): Command {
  return command
    .option('--output <dir>', 'result directory (default: ./result)')
    .option('--json', 'print exactly one JSON document on stdout');
}

const examples = `
Examples:
  optimizer runs list                                 the newest first
  optimizer runs show                                 the answer of the newest run
  optimizer runs show 20260102030405-a1b2c3 --trial 7 all that is known of one trial
  optimizer runs diff RUN RUN                         exit 1 when the second is significantly worse
  optimizer runs export --format optuna --to study.log

RUN is a run id or a run directory; without it the newest run.`;

export const isCommand = (command: Command, name: string): boolean =>
  name === 'help' || command.commands.some((one) => one.name() === name);

/** Ends a command that acts by itself and has others below it, where `name` is none of those. */
export function refuseUnknown(command: Command, name: string): never {
  const below = command.commands.find((one) => one.commands.some((two) => two.name() === name));
  const known = command.commands.map((one) => one.name());
  const hint = below === undefined ? didYouMean(name, known) : ` (did you mean '${below.name()} ${name}'?)`;
  command.error(`error: unknown command '${name}'${hint}`);
}

/** What reads runs that are there. */
export function addRunCommands(root: Command, finish: Finish): void {
  const runs = runOptions(root.command('runs'))
    .description('what has been run')
    .enablePositionalOptions()
    .addHelpText('after', examples)
    .usage('[options] [command]')
    .argument('[command]')
    .action(async (unknown: string | undefined, _options: RunsOptions, command: Command) => {
      if (unknown === undefined) finish(await (await import('./runs.ts')).list(optionsOf(command)));
      else refuseUnknown(runs, unknown);
    });
  runOptions(runs.command('list'))
    .description('all runs, the newest first')
    .action(async (_options: RunsOptions, command: Command) =>
      finish(await (await import('./runs.ts')).list(optionsOf(command))),
    );
  runOptions(runs.command('show'))
    .description('the answer of a run, or one of its trials')
    .argument('[run]', 'run id or directory; without it the newest run')
    .option('--trial <n>', 'all that is known of this trial', wholeNumber(0))
    .action(async (run: string | undefined, _options: ShowOptions, command: Command) =>
      finish(await (await import('./show.ts')).show(run, optionsOf(command))),
    );
  for (const parent of [runs, root]) {
    runOptions(parent.command('report'))
      .description('write report.html, pareto.csv and the Optuna journal of a run anew, from its journal')
      .argument('[run]', 'run id or directory; without it the newest run')
      .action(async (run: string | undefined, _options: RunsOptions, command: Command) =>
        finish(await (await import('./show.ts')).report(run, optionsOf(command))),
      );
  }
  runOptions(root.command('dashboard'))
    .description('serve the report of a run on this machine; it refreshes itself while the run goes on')
    .argument('[run]', 'run id or directory; without it the newest run')
    .option('--port <n>', 'port (any that is free without it)', wholeNumber(1, 65_535))
    .option('--address <ip>', 'address to listen on', '127.0.0.1')
    .action(async (run: string | undefined, _options: DashboardOptions, command: Command) =>
      finish(await (await import('./dashboard.ts')).dashboard(run, optionsOf(command) as DashboardOptions)),
    );
  runOptions(runs.command('diff'))
    .description('two runs side by side; exit 1 when the second is significantly worse')
    .argument('<first>', 'run id or directory')
    .argument('<second>', 'run id or directory')
    .action(async (first: string, second: string, _options: RunsOptions, command: Command) =>
      finish(await (await import('./compare.ts')).diff(first, second, optionsOf(command))),
    );
  runs
    .command('export')
    .description('a run in the format of another tool')
    .argument('[run]', 'run id or directory; without it the newest run')
    .addOption(new Option('--format <name>', 'format').choices([...exportFormats]).makeOptionMandatory())
    .option('--to <path>', 'file (stdout without it), or directory of vllm-sweep')
    .option('--output <dir>', 'result directory (default: ./result)')
    .action(async (run: string | undefined, _options: ExportOptions, command: Command) =>
      finish(await (await import('./export.ts')).exportRun(run, optionsOf(command) as ExportOptions)),
    );
  runOptions(runs.command('repair'))
    .description('mend a journal whose inside is damaged; the damaged one is kept beside it')
    .argument('[run]', 'run id; without it the newest run')
    .option('--dry-run', 'say what is damaged and what can be kept, and change nothing')
    .action(async (run: string | undefined, _options: RepairOptions, command: Command) =>
      finish(await (await import('./runs.ts')).repair(run, optionsOf(command))),
    );
}
