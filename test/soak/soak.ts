import { setTimeout as delay } from 'node:timers/promises';
import { createRng, type Rng } from '../../src/base/rng.ts';
import { toldIn } from '../chaos/promises.ts';
import build from '../support/build.ts';
import { namespacesAreAvailable, startNamespaces, type Namespaces } from '../support/netns.ts';
import { Project } from '../support/project.ts';
import { realSshd, type SshdCluster } from '../support/sshd.ts';

/**
 * Many evaluations on eight groups with faults by chance, 5 % of each kind: services that exit, run out of memory,
 * lose their network, are killed, hang, or do not hear TERM; SSH servers that die, alone or with all they serve; and
 * links that are cut, where networks of our own can be made.
 * Everything must be accounted for, nothing left, and the memory of the controller flat. `npm run soak -- [N] [TIMES]`
 */

const evaluations = Number(process.argv[2] ?? 500);
const times = Number(process.argv[3] ?? 2);
const share = 0.05;
const limitMs = 10 * 60_000;

interface Outcome {
  readonly lines: readonly (readonly [string, string | number])[];
  readonly failures: readonly string[];
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

const hosts = 8;

type Fault = 'machine' | 'sshd' | 'link';

/** Takes one host away for a while. */
async function breakOne(
  fault: Fault,
  index: number,
  { cluster, network, rng }: { cluster: SshdCluster; network: Namespaces | undefined; rng: Rng },
): Promise<void> {
  const host = cluster.hosts[index];
  if (host === undefined) return;
  if (fault === 'link') {
    network?.cut(index);
    // Some are back before anybody has noticed, and some only after the keep-alive has.
    await delay(500 + rng.next() * 12_000);
    network?.heal(index);
    return;
  }
  if (fault === 'machine') host.kill();
  else host.killServer();
  await delay(1000 + rng.next() * 2000);
  await host.start();
}

async function soak(seed: number): Promise<Outcome> {
  using network = namespacesAreAvailable() ? startNamespaces(hosts) : undefined;
  await using cluster = await realSshd.start(hosts, undefined, network && { network });
  await using project = new Project(cluster, {
    ...{ particles: 10, iters: Math.ceil(evaluations / 10), seqs: [1, 4096], concurrency: [4, 16] },
    parallel: 'lease_timeout = 10\nretry_count = 4',
    defaults: 'stop_grace = 1',
    env: { FAKE_CHAOS: share, FAKE_SEED: seed, FAKE_START_MS: 100, FAKE_TPOT_MS: 1 },
    builtin: 'timeout = 3',
    limitMs,
  });
  const began = performance.now();
  const { child, done } = project.start([
    ...project.args,
    '--nodes-per-group',
    '1',
    '--seed',
    String(seed),
    '--quiet',
  ]);
  const rng = createRng(seed).fork('machines');
  const memory: number[] = [];
  const kinds: readonly Fault[] = network ? ['machine', 'sshd', 'link'] : ['machine', 'sshd'];
  const broken = { machine: 0, sshd: 0, link: 0 };
  const until = new AbortController();
  const look = setInterval(() => memory.push(project.residentMiB(child.pid ?? 0)), 500);
  const machines = (async () => {
    const away = new Map<number, Promise<void>>();
    let seen = 0;
    while (!until.signal.aborted) {
      await delay(500);
      const told = project.hasRun() ? toldIn(project.journal()).length : 0;
      const chances = kinds.flatMap((kind) => Array.from({ length: told - seen }, () => kind));
      seen = told;
      for (const fault of chances.filter(() => rng.next() < share)) {
        const index = Math.floor(rng.next() * hosts);
        if (away.has(index)) continue;
        broken[fault]++;
        const back = breakOne(fault, index, { cluster, network, rng });
        away.set(
          index,
          back.finally(() => away.delete(index)),
        );
      }
    }
    await Promise.all(away.values());
  })();
  const { code, stderr } = await done;
  const seconds = (performance.now() - began) / 1000;
  until.abort();
  clearInterval(look);
  await machines;
  // What was left on a machine that died is for its guardian.
  for (let waited = 0; waited < 60 && project.traces().length > 0; waited++) await delay(500);
  const orphans = project.traces();
  const told = toldIn(project.journal());
  const distinct = new Set(told.map(({ trial_id }) => trial_id));
  const { evaluations: e } = project.summary();
  const alive = memory.filter((mib) => mib > 0);
  const [early, late] = [
    alive.slice(10, 10 + alive.length / 4),
    alive.slice((-alive.length * 3) / 8, -alive.length / 8),
  ];
  const growth = mean(late) - mean(early);
  const expected = Math.ceil(evaluations / 10) * 10;
  const failures = [
    ...(code === 0 ? [] : [`exit code ${code}: ${stderr}`]),
    ...(told.length === expected && distinct.size === expected ? [] : [`${told.length} told of ${expected}`]),
    ...(project.rows().length === expected ? [] : [`${project.rows().length} rows`]),
    ...orphans.map(({ pid, command }) => `left: ${pid} ${command}`),
    ...(growth < 40 ? [] : [`memory grew by ${growth.toFixed(0)} MiB`]),
  ];
  return {
    lines: [
      ['seed', seed],
      ['seconds', seconds.toFixed(0)],
      ['told', told.length],
      ['measured', e.measured],
      ['reused', e.reused],
      ['infeasible', e.infeasible],
      ['failed', e.failed],
      ['retried', e.retried],
      ['machines that went down', broken.machine],
      ['SSH servers that died', broken.sshd],
      ['links that were cut', network ? broken.link : 'not possible here'],
      ['processes left', orphans.length],
      ['controller, early (MiB)', mean(early).toFixed(0)],
      ['controller, late (MiB)', mean(late).toFixed(0)],
    ],
    failures,
  };
}

if (!realSshd.available) {
  console.log('no sshd: skipped');
  process.exit(0);
}
build();
const outcomes: Outcome[] = [];
for (let seed = 1; seed <= times; seed++) outcomes.push(await soak(seed));
for (const [row, [name]] of (outcomes[0]?.lines ?? []).entries()) {
  console.log(`| ${name} | ${outcomes.map(({ lines }) => lines[row]?.[1]).join(' | ')} |`);
}
const failures = outcomes.flatMap((outcome) => outcome.failures);
for (const failure of failures) console.error(failure);
process.exitCode = failures.length === 0 ? 0 : 1;
