import { parseHosts, type HostEntry } from './host-syntax.ts';
import { InvalidConfiguration, didYouMean, type ConfigProblem } from './problems.ts';

/** DeepSpeed's `--include host:0,1@host2` and `--exclude host:0@host2:2,3`. */
export interface HostSelection {
  readonly include?: string | undefined;
  readonly exclude?: string | undefined;
}

interface Selected {
  readonly host: string;
  /** undefined: all of them. */
  readonly devices: readonly number[] | undefined;
}

function deviceIds(text: string): number[] | undefined {
  const ids = text.split(',').flatMap((item) => {
    const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(item.trim()) ?? [];
    if (first === undefined || Number(last) - Number(first) > 1024) return [NaN];
    return Array.from({ length: Number(last) - Number(first) + 1 }, (_, i) => Number(first) + i);
  });
  return ids.length === 0 || ids.some(Number.isNaN) ? undefined : ids;
}

function parseSelection(text: string, source: string): Selected[] {
  const problems: ConfigProblem[] = [];
  let column = 1;
  const selected = text.split('@').flatMap((part): Selected[] => {
    const at = `column ${column}`;
    column += part.length + 1;
    const expected = 'hosts with their device ids, such as node0:0,1@node[1-3]';
    const [, pattern = '', ids] = /^\s*(\[[^\]]*\]|(?:[^:[]|\[[^\]]*\])*)(?::(.*?))?\s*$/.exec(part) ?? [];
    const { hosts, problems: wrong } = parseHosts(pattern);
    const devices = ids === undefined ? undefined : deviceIds(ids);
    if (hosts.length === 0 || wrong.length > 0 || (ids !== undefined && devices === undefined)) {
      problems.push({ source, at, value: part, expected: wrong[0]?.expected ?? expected });
    }
    return hosts.map(({ host }) => ({ host, devices }));
  });
  if (problems.length > 0) throw new InvalidConfiguration(problems);
  return selected;
}

function refuseUnknown(selected: readonly Selected[], known: readonly string[], source: string): void {
  const problems = selected
    .filter(({ host }) => !known.includes(host))
    .map(({ host }) => ({
      source,
      at: '',
      value: host,
      expected: `one of the hosts given${didYouMean(host, known)}`,
    }));
  if (problems.length > 0) throw new InvalidConfiguration(problems);
}

/** The hosts that are selected, in their order, with the devices that are selected. */
export function selectHosts<T extends HostEntry>(
  hosts: readonly T[],
  { include, exclude }: HostSelection,
): T[] {
  const known = hosts.map(({ host }) => host);
  const wanted = include === undefined ? undefined : parseSelection(include, '--include');
  const unwanted = exclude === undefined ? [] : parseSelection(exclude, '--exclude');
  refuseUnknown(wanted ?? [], known, '--include');
  refuseUnknown(unwanted, known, '--exclude');
  return hosts.flatMap((entry): T[] => {
    const chosen = wanted?.find(({ host }) => host === entry.host);
    if (wanted !== undefined && chosen === undefined) return [];
    const left = unwanted.find(({ host }) => host === entry.host);
    if (left !== undefined && left.devices === undefined) return [];
    return [
      {
        ...entry,
        ...(chosen?.devices === undefined ? {} : { devices: chosen.devices }),
        ...(left?.devices === undefined ? {} : { without: left.devices }),
      },
    ];
  });
}
