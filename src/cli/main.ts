#!/usr/bin/env node
import { Command, CommanderError, Option } from 'commander';
import { ConfigurationError } from '../base/errors.ts';
import { version } from '../base/version.ts';
import { normalizeArgv } from './argv.ts';
import type { CleanOptions } from './clean.ts';
import type { ScaleOptions } from './scale.ts';
import type { InitOptions } from './init.ts';
import { addRunCommands, isCommand, refuseUnknown } from './run-commands.ts';
import {
  hostOptions,
  initEngines,
  optionsOf,
  outputOptions,
  tuneOptions,
  wholeNumber,
  type CliOptions,
} from './options.ts';
import { exitCodes, failureDocument, printFailure } from './outcome.ts';

const examples = `
Examples:
  optimizer --parallel --hostfile hosts.txt --nodes-per-group 2 -c config.toml
  optimizer --node-string "n0,n1:n2,n3" -c config.toml
  optimizer -c config.toml                 one service on this machine
  optimizer init -e vllm --hostfile hosts.txt   files to begin with
  optimizer check --hostfile hosts.txt     look at every node before a run
  optimizer --dry-run -c config.toml       show every file and command, start nothing
  optimizer resume                         go on with the newest unfinished run
  optimizer demo                           the whole tool in a minute, without a cluster
  optimizer runs list                      what has been run, and what came of it
  optimizer clean --hostfile hosts.txt     end what a dead run left behind
  optimizer scale --add "n8,n9"            take another group into a run that is under way

Exit codes: 0 a configuration within the SLOs, 1 none, 2 usage or configuration,
            3 infrastructure, 130 interrupted.`;

function program(finish: (code: number) => void): Command {
  const root = new Command('optimizer')
    .description(
      'Finds the serving parameters of an LLM inference service: the best throughput within the SLOs.',
    )
    .version(version)
    .enablePositionalOptions()
    .showHelpAfterError('(--help shows all options and examples)')
    .showSuggestionAfterError()
    .exitOverride();
  outputOptions(tuneOptions(hostOptions(root)))
    .addHelpText('after', examples)
    .usage('[options] [command]')
    .argument('[command]')
    .action(async (unknown: string | undefined, options: CliOptions) => {
      if (unknown !== undefined) refuseUnknown(root, unknown);
      finish(await (await import('./tune.ts')).tune(options));
    });
  outputOptions(root.command('resume'))
    .description('go on with a run from its journal')
    .argument('[run]', 'run id; without it the newest unfinished run')
    .action(async (run: string | undefined, _options: CliOptions, command: Command) => {
      finish(await (await import('./tune.ts')).resumeRun(run, optionsOf(command) as CliOptions));
    });
  outputOptions(root.command('demo'))
    .description('the whole tool in a minute on an emulated cluster; needs nothing but this machine')
    .option('--seed <n>', 'seed of the search and of the load', wholeNumber(0))
    .action(async (_options: CliOptions, command: Command) => {
      finish(await (await import('./demo.ts')).demo(optionsOf(command) as CliOptions));
    });
  addRunCommands(root, finish);
  root
    .command('scale')
    .description('take groups into a running study, or out of it after the trial that they have')
    .argument('[run]', 'run id; without it the newest run')
    .option('--add <hosts>', 'groups that join: "n8,n9:n10,n11"')
    .option('--remove <hosts>', 'groups with one of these hosts leave')
    .option('--drain <ids>', 'these groups leave: "2,3"')
    .option('--output <dir>', 'result directory (default: ./result)')
    .option('--json', 'print exactly one JSON document on stdout')
    .action(async (run: string | undefined, _options: ScaleOptions, command: Command) => {
      finish(await (await import('./scale.ts')).scale(run, optionsOf(command)));
    });
  hostOptions(root.command('init'))
    .description('write a commented config.toml and a hostfile to begin with')
    .addOption(
      new Option('-e, --engine <name>', 'inference engine').choices([...initEngines]).default('script'),
    )
    .option('--to <dir>', 'directory to write to', '.')
    .option('--force', 'replace what is there')
    .action(async (_options: InitOptions, command: Command) => {
      finish(await (await import('./init.ts')).init(optionsOf(command) as InitOptions));
    });
  hostOptions(root.command('check'))
    .description('look at every node before a run: what would make it fail, and the remedy; starts nothing')
    .option('-e, --engine <name>', 'inference engine')
    .option('-b, --benchmark-policy <name>', 'benchmark')
    .option('--json', 'print exactly one JSON document on stdout')
    .action(async (_options: CliOptions, command: Command) => {
      finish(await (await import('./check.ts')).check(optionsOf(command) as CliOptions));
    });
  hostOptions(root.command('clean'))
    .description('end what dead runs of ours left on the nodes')
    .option('--output <dir>', 'result directory whose newest run names the hosts')
    .option('--dry-run', 'list, and end nothing')
    .option('--force', 'end live runs as well')
    .option('--json', 'print exactly one JSON document on stdout')
    .action(async (_options: CleanOptions, command: Command) => {
      finish(await (await import('./clean.ts')).clean(optionsOf(command) as CleanOptions));
    });
  return root;
}

/** A closed pipe (`optimizer | head`) or terminal is no defect. */
function ignoreClosedPipe(stream: NodeJS.WriteStream): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error;
  });
}

async function main(argv: readonly string[]): Promise<number> {
  ignoreClosedPipe(process.stdout);
  ignoreClosedPipe(process.stderr);
  let exitCode: number = exitCodes.feasible;
  try {
    const root = program((code) => (exitCode = code));
    const words = normalizeArgv(argv);
    const [first = '-'] = words;
    // Before commander looks at what follows: it would complain of that.
    if (!first.startsWith('-') && !isCommand(root, first)) refuseUnknown(root, first);
    await root.parseAsync(words, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return 0;
      const message = error.message.replace(/^error: /, '');
      const usage = new ConfigurationError(message, {}, { remedy: 'optimizer --help shows all options.' });
      if (argv.includes('--json')) process.stdout.write(failureDocument(usage, exitCodes.usage));
      return exitCodes.usage;
    }
    return printFailure(error, exitCodes.infrastructure, argv.includes('--json'));
  }
  return exitCode;
}

process.exitCode = await main(process.argv.slice(2));
