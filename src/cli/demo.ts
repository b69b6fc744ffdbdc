import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { registry } from '../compose.ts';
import { need } from '../base/assert.ts';
import { formatDuration, ms } from '../base/units.ts';
import type { EventBus } from '../base/events.ts';
import { resolveSettings, type SettingsInput } from '../config/settings.ts';
import { startCluster, type EmulatedCluster } from '../emulator/cluster.ts';
import { demoSeed, demoStudy } from './demo-study.ts';
import type { CliOptions } from './options.ts';
import { exitCodes } from './outcome.ts';
import { runAndTell } from './tune.ts';

const hostsInAll = 8;
const hostsPerGroup = 2;

async function freePort(address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, address, () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

function inputOf(cluster: EmulatedCluster, port: number, options: CliOptions): SettingsInput {
  const groups = Array.from({ length: hostsInAll / hostsPerGroup }, (_, group_id) => ({
    group_id,
    nodes: cluster.hosts
      .slice(group_id * hostsPerGroup, (group_id + 1) * hostsPerGroup)
      .map(({ address, directory }) => ({ host: address, work_dir: join(directory, 'work') })),
  }));
  const values = {
    ...demoStudy,
    output: options.output ?? join('result', 'demo'),
    seed: options.seed ?? demoSeed,
    parallel: {
      enabled: true,
      retry_delay: 0.2,
      evaluation_timeout: 60,
      defaults: {
        ssh_port: need(cluster.hosts[0], 'host').port,
        username: cluster.user,
        identity_file: cluster.identity,
        known_hosts_file: cluster.knownHosts,
        health_check_url: `http://{host}:${port}/health`,
        health_check_timeout: 30,
        stop_grace: 2,
      },
      service_groups: groups,
    },
  };
  return { document: { values, origin: {}, files: [] }, flags: {} };
}

/** Takes a machine down in the middle of a benchmark. */
function planAccident(cluster: EmulatedCluster, events: EventBus): void {
  let told = 0;
  let happened = false;
  events.subscribe((event) => {
    if (event.type === 'trial.finished') told = event.told;
    if (happened || event.type !== 'trial.phase' || event.phase !== 'benchmark' || told < 7) return;
    happened = true;
    const host = need(cluster.hosts[event.groupId * hostsPerGroup], 'host');
    setTimeout(() => {
      const text = `the demo pulls the plug of ${host.address}, the master of group ${event.groupId}, in the middle of trial ${event.trialId}`;
      events.emit({ type: 'note', text });
      host.kill();
    }, 700).unref();
  });
}

/** The whole tool in a minute, without a cluster: emulated hosts over real SSH, an emulated engine over real HTTP. */
export async function demo(options: CliOptions): Promise<number> {
  const began = performance.now();
  await using cluster = await startCluster(hostsInAll);
  // Quitting at once (a second Ctrl-C) is pulling the plug of all of them.
  process.once('exit', () => {
    for (const host of cluster.hosts) host.kill();
    rmSync(cluster.directory, { recursive: true, force: true });
  });
  const port = await freePort(need(cluster.hosts[0], 'host').address);
  const input = inputOf(cluster, port, options);
  const loaded = { input, settings: resolveSettings(input, registry) };
  const exitCode = await runAndTell(loaded, undefined, options, {
    accompany: (events) => planAccident(cluster, events),
    resumable: false,
  });
  const left = cluster.hosts.flatMap((host) => host.processes());
  const out = options.json === true || options.events === 'json' ? process.stderr : process.stdout;
  out.write(
    `${left.length} processes left on ${hostsInAll} hosts (checked)\n` +
      `The engine and its accelerators were simulated, SSH, HTTP and processes were real; it took ${formatDuration(ms(performance.now() - began))}.\n`,
  );
  return left.length > 0 ? exitCodes.infrastructure : exitCode;
}
