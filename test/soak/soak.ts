import { setTimeout as delay } from 'node:timers/promises';
import { createRng } from '../../src/base/rng.ts';
import { toldIn } from '../chaos/promises.ts';
import { Project } from '../support/project.ts';
import build from '../support/build.ts';
import { realSshd } from '../support/sshd.ts';

/**
 * Many evaluations on eight groups with faults by chance, 5 % of each kind: services that exit, run out of memory,
 * lose their network, are killed, hang, or do not hear TERM; and SSH servers that die, alone or with all they serve.
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

async function soak(seed: number): Promise<Outcome> {
  await using cluster = await realSshd.start(8);
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
  let [deaths, running] = [0, true];
  const look = setInterval(() => memory.push(project.residentMiB(child.pid ?? 0)), 500);
  const machines = (async () => {
    while (running) {
      await delay(1000);
      const host = cluster.hosts[Math.floor(rng.next() * 8)];
      if (host === undefined || rng.next() > 8 * share) continue;
      deaths++;
      if (rng.next() < 0.5) host.kill();
      else host.killServer();
      await delay(1000 + rng.next() * 2000);
      await host.start();
    }
  })();
  const { code, stderr } = await done;
  const seconds = (performance.now() - began) / 1000;
  running = false;
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
      ['SSH servers that died', deaths],
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
