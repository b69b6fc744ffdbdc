import { homedir } from 'node:os';
import { childController } from '../base/cancellation.ts';
import { ConfigurationError } from '../base/errors.ts';
import { words } from '../base/words.ts';
import { registry, type StudyOutcome } from '../compose.ts';
import { hostsOfAllocation } from '../config/host-lists.ts';
import { usesSlurm } from '../config/parallel-settings.ts';
import { resolveSettings, type SettingsInput } from '../config/settings.ts';
import { readConfig } from '../config/sources.ts';
import { isTable } from '../config/toml.ts';
import { knownKeys } from '../config/validate.ts';
import { allocate, type Allocation } from '../remote/slurm-allocation.ts';
import type { Loaded } from './load.ts';
import type { CliOptions } from './options.ts';
import { stopOnSignals } from './signals.ts';

type Note = (text: string) => void;
type SlurmEnv = Readonly<Record<string, string | undefined>>;

/** Allocations that a run makes one after the other: Slurm may end one before the run is complete. */
export class Allocations implements AsyncDisposable {
  readonly #options: string;
  #held: Allocation | undefined;

  constructor(options: string) {
    this.#options = options;
  }

  /** What is held now has ended. */
  get ended(): AbortSignal {
    return this.#held?.ended ?? AbortSignal.abort(new Error('there is no allocation'));
  }

  /** Waits for one. @returns what Slurm tells of it @throws ConfigurationError, or the reason of the abort */
  async next(signal: AbortSignal, note: Note): Promise<SlurmEnv> {
    await this[Symbol.asyncDispose]();
    this.#held = await allocate(words(this.#options, '--slurm'), { signal, note });
    const { job, env } = this.#held;
    note(`Slurm's job ${job} has ${env['SLURM_JOB_NODELIST'] ?? 'its nodes'}`);
    return env;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const held = this.#held;
    this.#held = undefined;
    await held?.[Symbol.asyncDispose]();
  }
}

const keyOf = (values: Readonly<Record<string, unknown>>): string | undefined => {
  const { parallel } = values;
  const said = isTable(parallel) ? parallel['slurm'] : undefined;
  return typeof said === 'string' ? said : undefined;
};

/** What the configuration says; what is wrong with it is told by whoever reads it as a whole. */
function configured(file: string | undefined): string | undefined {
  try {
    const surroundings = { cwd: process.cwd(), home: homedir(), env: process.env };
    return keyOf(readConfig(file, knownKeys(registry), surroundings).values);
  } catch {
    return undefined;
  }
}

/** Of a run that makes its allocations itself; undefined for all others. */
export function allocationsOf(options: CliOptions): Allocations | undefined {
  if (options.simulate === true || options.launcher === 'ssh') return undefined;
  const said = options.slurm ?? configured(options.config);
  return said === undefined ? undefined : new Allocations(said);
}

/** The same of a saved run. */
export function allocationsOfSaved({ flags, document }: SettingsInput): Allocations | undefined {
  const said = flags.slurm ?? keyOf(document.values);
  const isUsed = flags.simulate !== true && flags.launcher !== 'ssh' && said !== undefined;
  return isUsed ? new Allocations(said) : undefined;
}

/** What Slurm might tell, so that all else can be looked at before. */
export const imaginedAllocation = ({ nodesPerGroup }: CliOptions): SlurmEnv => ({
  SLURM_JOB_ID: '0',
  SLURM_JOB_NODELIST: `node[1-${100 * nodesPerGroup}]`,
});

/** The first one, which Ctrl-C ends the waiting for. */
export async function firstAllocation(
  allocations: Allocations | undefined,
  isDry = false,
): Promise<SlurmEnv> {
  if (allocations === undefined) return process.env;
  if (isDry) {
    throw new ConfigurationError(
      '--dry-run knows no nodes that Slurm has not given yet',
      {},
      { remedy: 'Name some: --launcher ssh --node-string "n0,n1:n2,n3".' },
    );
  }
  const note = (text: string): void => void process.stderr.write(`note: ${text}\n`);
  using stop = stopOnSignals((name) => note(`${name}: giving up the wait for Slurm`));
  return await allocations.next(stop.signal, note);
}

/** The same on the nodes of another allocation. */
function moved(input: SettingsInput, slurm: SlurmEnv): SettingsInput {
  const nodes = input.hosts?.groups[0]?.hosts.length;
  const hosts = nodes === undefined ? undefined : hostsOfAllocation(slurm, nodes);
  return { ...input, hosts: hosts ?? input.hosts, slurmJob: slurm['SLURM_JOB_ID'] };
}

/** A saved run goes on where Slurm gives it nodes now. */
export async function resumedInSlurm(
  input: SettingsInput,
  allocations: Allocations | undefined,
): Promise<SettingsInput> {
  const { flags, document } = input;
  const { parallel } = document.values;
  const isAllocated =
    input.hosts?.isAllocated === true || usesSlurm(isTable(parallel) ? parallel : {}, flags);
  if (flags.simulate === true || !isAllocated) return input;
  return moved(input, await firstAllocation(allocations));
}

/** Runs a study to its end, in one allocation after the other where the run makes them. */
export async function inTurn(
  first: Loaded,
  { allocations, signal, note }: { allocations: Allocations | undefined; signal: AbortSignal; note: Note },
  study: (loaded: Loaded, resume: string | undefined, signal: AbortSignal) => Promise<StudyOutcome>,
  resume: string | undefined,
): Promise<StudyOutcome> {
  let [loaded, run] = [first, resume];
  for (;;) {
    using either = childController(signal, ...(allocations === undefined ? [] : [allocations.ended]));
    const outcome = await study(loaded, run, either.signal);
    const { status, run_id } = outcome.summary;
    if (allocations?.ended.aborted !== true || signal.aborted || status !== 'interrupted') return outcome;
    note(`${(allocations.ended.reason as Error).message}; the run goes on in the next allocation`);
    try {
      const input = moved(loaded.input, await allocations.next(signal, note));
      loaded = { input, settings: resolveSettings(input, registry) };
    } catch (error) {
      if (error === signal.reason) return outcome;
      throw error;
    }
    run = run_id === '' ? run : run_id;
  }
}
