import { posix } from 'node:path';
import { z } from 'zod';
import { childController } from '../base/cancellation.ts';
import { BenchmarkExecutionError, BenchmarkParseError, IPCCommandError } from '../base/errors.ts';
import { ms } from '../base/units.ts';
import { parseHosts } from '../config/host-syntax.ts';
import type { ServingParams } from '../core/space/field.ts';
import type { BenchmarkContext, LoadPlace, RawOutput, ToolHost } from '../parallel/ports.ts';
import type { ToolProgress } from './tool-progress.ts';

/** Load tools that are commands: run in a directory of their own, on the master or on the controller. */

function isLoadPlace(value: unknown): boolean {
  if (value === 'controller' || value === 'master') return true;
  if (typeof value !== 'string' || !value.startsWith('host:')) return false;
  const { hosts, problems } = parseHosts(value.slice('host:'.length));
  return hosts.length === 1 && problems.length === 0;
}

/** `run_on` of their tables. */
export const runOn = (): z.ZodType<LoadPlace> =>
  z.custom<LoadPlace>(isLoadPlace, {
    error: '"controller", "master" or "host:NAME", a host for load alone',
  });
export const runOnSays = 'where it runs: `controller`, `master`, or `host:NAME`, a host for load alone';

export interface Tool {
  readonly name: string;
  readonly where: LoadPlace;
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** It needs nothing of an engine's container. */
  readonly onHost?: boolean;
  /** What to do where its program is not there. */
  readonly ifMissing?: string;
  /** Reads what it says while it runs, and ends it when nothing can save what it measures. */
  readonly progress?: ToolProgress;
}

export interface ToolOutput {
  readonly stdout: string;
  readonly stderr: string;
  /** Files that it wrote, oldest first. */
  readonly files: readonly { readonly path: string; readonly text: string }[];
}

/** `$1`: its directory; then its words. What it prints stays readable after it was killed. */
const inOwnDirectory = `umask 077
rm -rf -- "$1" && mkdir -p -- "$1" && cd -- "$1" || exit 73
shift
exec "$@"`;

/** Oldest first, so that the last one is the result of this run. */
const listFiles = `cd -- "$1" && find . -type f -size -64M -printf '%T@ %P\\n' | sort -n | cut -d ' ' -f 2-`;

const exitCode = (reason: string): number | undefined => {
  const found = /^exit code (\d+)/.exec(reason);
  return found === null ? undefined : Number(found[1]);
};

/** What it says is kept, also when it fails. */
async function keepWords(context: BenchmarkContext, name: string, text: string): Promise<void> {
  if (text !== '') await context.keep({ name, content: text.endsWith('\n') ? text : `${text}\n` });
}

/**
 * Runs a tool to its end, or to where its progress says that it is hopeless, in a directory of its own.
 * @throws BenchmarkExecutionError; the reason of the abort when time is over
 */
export async function runIn(host: ToolHost, tool: Tool, context: BenchmarkContext): Promise<ToolOutput> {
  const wrap = tool.onHost === true ? host.wrapOnHost.bind(host) : host.wrap.bind(host);
  const command = wrap({
    argv: ['sh', '-c', inOwnDirectory, 'sh', host.directory, ...tool.argv],
    label: tool.argv.slice(0, 3).join(' '),
    cwd: host.cwd,
    env: { ...host.env, ...tool.env },
  });
  using hopeless = childController(context.signal);
  const canEnd = tool.onHost === true || !host.outlives;
  const onOutput = (text: string): void => {
    if (tool.progress?.read(text, canEnd) === true) hopeless.abort(new Error('nothing can save it'));
  };
  try {
    const { stdout, stderr } = await host.executor.run(command, {
      signal: hopeless.signal,
      timeout: ms(context.timeout),
      onOutput: tool.progress && onOutput,
    });
    return { stdout, stderr, files: [] };
  } catch (error) {
    context.signal.throwIfAborted();
    if (hopeless.signal.aborted) return { stdout: '', stderr: '', files: [] };
    if (!(error instanceof IPCCommandError)) throw error;
    const reason = String(error.details['reason']);
    await keepWords(context, `${tool.name}.err`, reason);
    const code = exitCode(reason);
    const missing = code === 126 || code === 127;
    throw new BenchmarkExecutionError(tool.name, reason, code, {
      cause: error,
      blame: missing ? 'operator' : 'benchmark',
      remedy: missing
        ? (tool.ifMissing ??
          `Install ${tool.argv[0] ?? tool.name} where it runs (${tool.where}), or use -b builtin.`)
        : `See ${tool.name}.err in the trial's folder.`,
    });
  }
}

/** The files of a run whose names the tool chooses itself. */
async function collect(
  host: ToolHost,
  context: BenchmarkContext,
  wanted: (path: string) => boolean,
): Promise<ToolOutput['files']> {
  const { signal } = context;
  const command = { argv: ['sh', '-c', listFiles, 'sh', host.directory], label: 'finding results' } as const;
  const { stdout } = await host.executor.run(command, { signal, timeout: ms(60_000) });
  const paths = stdout.split('\n').filter((path) => path !== '' && wanted(path));
  const files = [];
  for (const path of paths) {
    const bytes = await host.executor.readFile(posix.join(host.directory, path), signal);
    files.push({ path, text: bytes.toString('utf8') });
  }
  return files;
}

/**
 * Runs a tool to its end and reads what it wrote; all of that is kept in the trial's folder.
 * @throws BenchmarkExecutionError; the reason of the abort when time is over
 */
export async function runTool(
  tool: Tool,
  context: BenchmarkContext,
  wanted: (path: string) => boolean,
): Promise<ToolOutput> {
  const host = await context.toolHost(tool.where);
  const said = await runIn(host, tool, context);
  await keepWords(context, `${tool.name}.log`, said.stdout + said.stderr);
  const files = await collect(host, context, wanted);
  for (const { path, text } of files) await context.keep({ name: path.replaceAll('/', '_'), content: text });
  return { ...said, files };
}

/** Kept already, file by file. */
export const noRaw: readonly RawOutput[] = [];

/** @throws BenchmarkParseError that names the file and shows its beginning */
export function parseFailure(name: string, file: { path: string; text: string }, reason: string): never {
  const excerpt = file.text.slice(0, 300).trim();
  const shown = excerpt === '' ? 'it is empty' : `it begins with: ${excerpt}`;
  throw new BenchmarkParseError(name, file.text, `${file.path}: ${reason}; ${shown}`, {
    remedy: `See ${file.path.replaceAll('/', '_')} in the trial's folder.`,
  });
}

/** @throws BenchmarkParseError where it is no JSON object */
export function documentOf(
  name: string,
  file: { readonly path: string; readonly text: string },
  text = file.text,
): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return parseFailure(name, file, (error as Error).message);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Readonly<Record<string, unknown>>;
  return parseFailure(name, file, 'it is no JSON object');
}

/** @throws BenchmarkParseError where it is no number, never a silent zero */
export function numberIn(
  name: string,
  file: { readonly path: string; readonly text: string },
  document: Readonly<Record<string, unknown>>,
  key: string,
): number {
  const value = document[key];
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  return parseFailure(name, file, `${key} is ${JSON.stringify(value)}, not a number`);
}

/** What a flag has last on a command line, which is what counts; undefined where that is no number. */
export function numberAfter(argv: readonly string[], flag: string): number | undefined {
  const at = argv.findLastIndex((word) => word === flag || word.startsWith(`${flag}=`));
  if (at === -1) return undefined;
  const word = argv[at] === flag ? argv[at + 1] : argv[at]?.slice(flag.length + 1);
  const value = word === '' ? NaN : Number(word);
  return Number.isFinite(value) ? value : undefined;
}

/** Another kind of requests, other lengths, a file of flags, fields of the requests. */
const ofLengths = /^--(?:conf|da|ran|o|num.w|ex)/;

/**
 * Whether the user's own words leave it open how long answers are: tools take their flags abbreviated and with underscores
 * as well, and only what is `read` to the letter is known.
 */
export const leavesLengthsOpen = (own: readonly string[], read: readonly string[]): boolean =>
  own.some((word) => ofLengths.test(word) && !read.includes(word.split('=', 1)[0] as string));

/** What the search says about the load, over what the table says. */
export interface AppliedLoad {
  /** undefined: no limit. */
  readonly concurrency: number | undefined;
  /** Requests/s; undefined: as fast as possible. */
  readonly requestRate: number | undefined;
}

function numberOf(params: ServingParams, ...names: string[]): number | undefined {
  const value = names.map((name) => params[name]).find((one) => one !== undefined);
  return value === undefined ? undefined : Number(value);
}

export function appliedLoad(params: ServingParams): AppliedLoad {
  const rate = numberOf(params, 'REQUESTRATE');
  const concurrency = numberOf(params, 'CONCURRENCY', 'MAXCONCURRENCY');
  return {
    concurrency: concurrency === undefined ? undefined : Math.max(1, Math.round(concurrency)),
    requestRate: rate !== undefined && rate > 0 && Number.isFinite(rate) ? rate : undefined,
  };
}

/** Fewer prompts while the swarm searches, where the user wants that. */
export const sampled = (prompts: number, { sampleSize }: BenchmarkContext): number =>
  Math.min(prompts, sampleSize ?? prompts);
