/** Whether a run would go well on nodes that were looked at; pure. */

export type Check =
  'reach' | 'clock' | 'work dir' | 'tools' | 'port' | 'devices' | 'engine' | 'model' | 'leftovers' | 'limits';

export const checks: readonly Check[] = [
  ...(['reach', 'clock', 'work dir', 'tools', 'port'] as const),
  ...(['devices', 'engine', 'model', 'leftovers', 'limits'] as const),
];

export interface Finding {
  readonly check: Check;
  readonly host: string;
  /** `unknown`: nothing on the node tells. */
  readonly state: 'ok' | 'warning' | 'bad' | 'unknown';
  readonly text: string;
  readonly remedy: string;
}

/** What one node told. */
export interface NodeReport {
  readonly host: string;
  readonly user: string | undefined;
  /** The node's clock less ours, ms. */
  readonly skewMs: number | undefined;
  readonly workDir: string;
  readonly workDirFault: string | undefined;
  readonly freeBytes: number | undefined;
  readonly missing: readonly string[];
  readonly port: number | undefined;
  readonly portTaken: boolean;
  readonly wantedDevices: readonly number[];
  readonly devices: { readonly tool: string; readonly ids: readonly number[] } | undefined;
  /** Of the fullest one, 0 to 1. */
  readonly memoryInUse: number | undefined;
  readonly memoryHolders: string;
  readonly missingPrograms: readonly string[];
  readonly hasExecutable: boolean;
  readonly version: string | undefined;
  readonly model: string | undefined;
  readonly modelBytes: number | null | undefined;
  readonly leftovers: readonly { readonly run: string; readonly isDead: boolean }[];
  readonly limits: Readonly<Record<string, string>>;
}

const most = { skewMs: 5000, memoryInUse: 0.1 } as const;
const least = { freeBytes: 100 * 1024 ** 2, sessions: 4 } as const;

const gib = (bytes: number): string => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;

interface Judged {
  readonly state: Finding['state'];
  readonly text: string;
  readonly remedy?: string;
}

const ok = (text: string): Judged => ({ state: 'ok', text });
const bad = (text: string, remedy: string): Judged => ({ state: 'bad', text, remedy });
const unknown = (text: string): Judged => ({ state: 'unknown', text });

function clock({ skewMs, host }: NodeReport): Judged {
  if (skewMs === undefined) return unknown('it does not tell the time');
  const seconds = skewMs / 1000;
  const text = `${seconds >= 0 ? '+' : '−'}${Math.abs(seconds).toFixed(1)} s`;
  if (Math.abs(skewMs) <= most.skewMs) return ok(text);
  const off =
    Math.abs(seconds) < 90
      ? `${Math.abs(seconds).toFixed(0)} s`
      : `${(Math.abs(seconds) / 60).toFixed(1)} min`;
  return bad(
    `its clock is ${off} ${seconds > 0 ? 'ahead of' : 'behind'} this machine's`,
    `Set it right with chrony or ntpd on ${host}: times in logs and tokens of services would not fit.`,
  );
}

function workDir({ workDir: path, workDirFault, freeBytes, host }: NodeReport): Judged {
  if (workDirFault !== undefined)
    return bad(
      workDirFault,
      `Give another work_dir in [parallel.defaults], or mend its owner or permissions on ${host}.`,
    );
  if (freeBytes !== undefined && freeBytes < least.freeBytes)
    return bad(
      `${path} has ${(freeBytes / 1024 ** 2).toFixed(0)} MiB left`,
      `Make room there on ${host}, or give another work_dir: logs of services grow.`,
    );
  return ok(freeBytes === undefined ? path : `${gib(freeBytes)} free`);
}

function tools({ missing, host }: NodeReport): Judged {
  if (missing.length === 0) return ok('setsid, flock, /proc');
  return bad(
    `${missing.join(', ')} is missing`,
    `Install util-linux on ${host}; services are owned through it.`,
  );
}

function port({ port: number, portTaken, host }: NodeReport): Judged {
  if (number === undefined) return ok('no service answers here');
  if (!portTaken) return ok(`${number} is free`);
  return bad(
    `port ${number} is taken`,
    `Stop what listens there (\`ss -ltnp 'sport = :${number}'\` on ${host}), or give the service another port.`,
  );
}

function devices(node: NodeReport): Judged {
  const { devices: found, wantedDevices: wanted, memoryInUse, memoryHolders, host } = node;
  if (found === undefined) return unknown('neither nvidia-smi nor npu-smi is there');
  const gone = wanted.filter((id) => !found.ids.includes(id));
  if (gone.length > 0)
    return bad(
      `devices ${gone.join(', ')} are configured, and it has ${found.ids.length} (${found.ids.join(', ')})`,
      `Correct npu_ids or --npus-per-node, or look for a broken device with ${found.tool === 'npu' ? 'npu-smi' : 'nvidia-smi'} on ${host}.`,
    );
  if (memoryInUse !== undefined && memoryInUse > most.memoryInUse) {
    const by = memoryHolders === '' ? '' : `, held by ${memoryHolders}`;
    return bad(
      `${(100 * memoryInUse).toFixed(0)} % of a device's memory is in use${by}`,
      `End it on ${host}, or leave that device out of npu_ids.`,
    );
  }
  return ok(`${wanted.length} of ${found.ids.length}`);
}

function engine({ missingPrograms, hasExecutable, version, workDir, host }: NodeReport): Judged {
  if (missingPrograms.length > 0 && missingPrograms.every((program) => program.startsWith('./')))
    return bad(
      `${missingPrograms.join(', ')} is not found in ${workDir}`,
      `Copy it there on ${host} (chmod +x), or give its full path: scripts are looked for in work_dir.`,
    );
  if (missingPrograms.length > 0)
    return bad(
      `${missingPrograms.join(', ')} is not found`,
      `Install it on ${host}, give its full path, or extend PATH in [parallel.defaults] env.`,
    );
  if (!hasExecutable) return ok('found');
  return version === undefined ? unknown('found; it does not tell its version') : ok(version);
}

function model({ model: path, modelBytes, host }: NodeReport): Judged {
  if (path === undefined) return unknown('not a path');
  if (modelBytes === null)
    return bad(`${path} is not there`, `Copy the model to ${host}, mount it there, or correct its path.`);
  return modelBytes === undefined ? unknown('its size is not known') : ok(gib(modelBytes));
}

function leftovers({ leftovers: found, host }: NodeReport): Judged {
  if (found.length === 0) return ok('none');
  const runs = [...new Set(found.map(({ run }) => run))].join(', ');
  return found.every(({ isDead }) => isDead)
    ? bad(
        `${found.length} processes of the dead run ${runs}`,
        'optimizer clean ends them, with the same flags.',
      )
    : bad(`run ${runs} uses it now`, `Wait for it, stop it, or leave ${host} out.`);
}

function limits({ limits: found }: NodeReport): Judged {
  const sessions = Number(found['maxsessions'] ?? 10);
  if (sessions < least.sessions)
    return {
      state: 'warning',
      text: `MaxSessions is ${sessions}`,
      remedy: `Raise MaxSessions in sshd_config to 10: until then commands wait for each other.`,
    };
  return ok(found['maxsessions'] === undefined ? 'usual' : `MaxSessions ${sessions}`);
}

const judges: readonly (readonly [Check, (node: NodeReport) => Judged])[] = [
  ['clock', clock],
  ['work dir', workDir],
  ['tools', tools],
  ['port', port],
  ['devices', devices],
  ['engine', engine],
  ['model', model],
  ['leftovers', leftovers],
  ['limits', limits],
];

/** A value that all nodes of a run should have alike: those that differ from the most usual one. */
function unlike<T>(
  nodes: readonly NodeReport[],
  of: (node: NodeReport) => T | undefined,
): [NodeReport, T, T][] {
  const counts = new Map<T, number>();
  for (const node of nodes) {
    const value = of(node);
    if (value !== undefined) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  const [usual] = [...counts].sort(([, a], [, b]) => b - a)[0] ?? [];
  if (usual === undefined || counts.size < 2) return [];
  return nodes.flatMap((node): [NodeReport, T, T][] => {
    const value = of(node);
    return value === undefined || value === usual ? [] : [[node, value, usual]];
  });
}

/** What all nodes say, and what does not fit together. */
export function judgeNodes(nodes: readonly NodeReport[]): Finding[] {
  const single = nodes.flatMap((node) => [
    {
      ...{ check: 'reach' as const, host: node.host, state: 'ok' as const, remedy: '' },
      text: `as ${node.user ?? 'unknown'}`,
    },
    ...judges.map(([check, judge]) => ({ check, host: node.host, remedy: '', ...judge(node) })),
  ]);
  const versions = unlike(nodes, ({ version }) => version).map(([{ host }, version, usual]): Finding => ({
    ...{ check: 'engine', host, state: 'bad' },
    text: `it has ${version}, others have ${usual}`,
    remedy: 'Install the same version everywhere: measurements of two versions do not compare.',
  }));
  const models = unlike(nodes, ({ modelBytes }) => modelBytes ?? undefined).map(
    ([{ host, model: path }, bytes, usual]): Finding => ({
      ...{ check: 'model', host, state: 'bad' },
      text: `${path ?? 'the model'} has ${gib(bytes)}, on others ${gib(usual)}`,
      remedy: `Copy the model to ${host} again: a part of it may be missing.`,
    }),
  );
  const wrong = [...versions, ...models];
  const isReplaced = ({ check, host }: Finding): boolean =>
    wrong.some((one) => one.check === check && one.host === host);
  return [...single.filter((one) => !(one.state === 'ok' && isReplaced(one))), ...wrong];
}

/** The same fault on many nodes is one line. */
export function grouped(
  findings: readonly Finding[],
): { readonly finding: Finding; readonly hosts: readonly string[] }[] {
  const byText = new Map<string, { finding: Finding; hosts: string[] }>();
  for (const finding of findings) {
    // A remedy may name the host: what is wrong is what counts.
    const key = `${finding.check} ${finding.state} ${finding.text}`;
    const known = byText.get(key);
    if (known === undefined) byText.set(key, { finding, hosts: [finding.host] });
    else known.hosts.push(finding.host);
  }
  return [...byText.values()];
}
