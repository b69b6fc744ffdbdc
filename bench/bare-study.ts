import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, type ClientChannel } from 'ssh2';
import { need } from '../src/base/assert.ts';
import { listSchedule } from './list-schedule.ts';
import { durations, serviceScript, type SleepStudy } from './sleep-study.ts';

/**
 * The same sleeps with the least that anybody could do over SSH: one command a node starts the service, one kills it.
 * Nothing is watched, proven gone, written down or guarded. What this takes longer than the ideal is the machine's.
 */
export async function bareStudy(
  study: Pick<SleepStudy, 'hosts' | 'groups' | 'evaluations' | 'startSeconds' | 'benchmarkSeconds' | 'seed'>,
): Promise<{ readonly connect_s: number; readonly makespan_s: number; readonly ideal_s: number }> {
  const { hosts, groups, evaluations, startSeconds } = study;
  const directory = mkdtempSync(join(tmpdir(), 'optimizer-bare-'));
  const script = join(directory, 'start.sh');
  writeFileSync(script, serviceScript(startSeconds), { mode: 0o755 });
  const privateKey = readFileSync(hosts.identity);
  const began = performance.now();
  const nodes = await Promise.all(
    hosts.addresses.map(async (host) => {
      const client = new Client();
      // Without this, every command waits 40 ms for an acknowledgement.
      const sock = connect({ host, port: hosts.port, noDelay: true });
      client.connect({ sock, username: userInfo().username, privateKey });
      await once(client, 'ready');
      return client;
    }),
  );
  const connected = performance.now();
  const each = nodes.length / groups;
  const sleeps = durations(study);
  let next = 0;
  const work = async (group: readonly Client[]): Promise<void> => {
    for (let trial = next++; trial < evaluations; trial = next++) {
      const started = await Promise.all(
        group.map(async (client) =>
          run(
            client,
            `READY=${directory} OPTIMIZER_TRIAL_ID=${trial} setsid sh ${script} >/dev/null 2>&1 </dev/null & echo $!`,
          ),
        ),
      );
      while (!existsSync(join(directory, `ready-${trial}`))) await sleep(2);
      await sleep(1000 * need(sleeps[trial], 'duration'));
      await Promise.all(
        group.map(async (client, i) => run(client, `kill -s KILL -- -${need(started[i], 'group').trim()}`)),
      );
    }
  };
  await Promise.all(
    Array.from({ length: groups }, async (_, group) => work(nodes.slice(each * group, each * (group + 1)))),
  );
  const makespan = (performance.now() - connected) / 1000;
  for (const client of nodes) client.end();
  rmSync(directory, { recursive: true, force: true });
  return {
    connect_s: (connected - began) / 1000,
    makespan_s: makespan,
    ideal_s: listSchedule(
      sleeps.map((one) => one + startSeconds),
      groups,
    ).makespan,
  };
}

async function run(client: Client, command: string): Promise<string> {
  const channel = await new Promise<ClientChannel>((resolve, reject) => {
    client.exec(command, (error, opened) => (error === undefined ? resolve(opened) : reject(error)));
  });
  return text(channel);
}
