import { childController, never } from '../../src/base/cancellation.ts';
import { CommunicationError, IPCCommandError } from '../../src/base/errors.ts';
import { ms } from '../../src/base/units.ts';
import { VirtualClock } from '../../src/base/virtual-clock.ts';
import { registry } from '../../src/compose.ts';
import { resolveSettings } from '../../src/config/settings.ts';
import { scriptEngine } from '../../src/engines/script/script.ts';
import type { Benchmark, Executor, ProcessExit } from '../../src/parallel/ports.ts';
import type { TrialRecord } from '../../src/parallel/records.ts';
import { LoadHosts } from '../../src/load-hosts.ts';
import { wireDispatcher, wireGroups } from '../../src/wiring.ts';
import type { World } from '../../src/world.ts';
import type { Case } from './compare.ts';

/** What a scripted cluster did, in the words of the vectors. */
export interface Played {
  readonly setupOk: boolean;
  readonly records: readonly TrialRecord[];
  readonly usable: number;
  readonly log: readonly (readonly string[])[];
}

const performance = {
  generate_speed: 1000,
  time_to_first_token: 0.1,
  time_per_output_token: 0.01,
  success_rate: 1,
  throughput: 1,
};

/** Plays a case on our groups: scripted exits, answers and failures, on a virtual clock. */
export async function play(input: Case): Promise<Played> {
  const { plan, particles, health_check_timeout: limit, retry_count: retries, groups: count } = input;
  const clock = new VirtualClock();
  const log: string[][] = [];
  const exits: number[] = [...(plan.exit ?? [])];
  const answers: unknown[] = [...(plan.http ?? [])];
  const neverUp = answers.every((answer) => answer === 'err');
  const executor = (host: string): Executor => {
    const ended: { resolve(exit: ProcessExit): void }[] = [];
    return {
      host,
      address: host,
      lost: never,
      async run(command) {
        if (command.argv[0] === 'reap')
          for (const one of ended.splice(0)) one.resolve({ kind: 'code', code: 0 });
        else log.push(['execute', host, command.argv.join(' ')]);
        return Promise.resolve({ exitCode: 0, stdout: command.argv[0] === 'count' ? '1' : '', stderr: '' });
      },
      async spawn(command) {
        log.push(['execute', host, command.argv.join(' ')]);
        const code = exits.shift() ?? 0;
        const exited =
          code === 0
            ? new Promise<ProcessExit>((resolve) => ended.push({ resolve }))
            : Promise.resolve<ProcessExit>({ kind: 'code', code });
        return Promise.resolve({
          pid: 1,
          identity: '1:1',
          logFile: 'log',
          exited,
          tail: [],
          lastOutput: clock.now(),
          onLine: () => undefined,
          end: async () => Promise.resolve(undefined),
          release: async () => Promise.resolve(),
          [Symbol.dispose]: () => undefined,
        });
      },
      async writeFile(path) {
        log.push(['write_file', host, path]);
        if (plan.write_fail === true) throw new IPCCommandError('write', 'disk full');
        return Promise.resolve();
      },
      hold: async () => Promise.resolve(''),
      readFile: async () => Promise.resolve(Buffer.alloc(0)),
      upload: async () => Promise.resolve(),
      download: async () => Promise.resolve(),
      async [Symbol.asyncDispose]() {
        log.push(['close', host]);
        return Promise.resolve();
      },
    };
  };
  const benchmark: Benchmark = {
    name: 'scripted',
    async run() {
      log.push(['benchmark']);
      if (String(input.name).includes('benchmark raises'))
        throw new CommunicationError('the load tool broke');
      return Promise.resolve({
        performance,
        percentiles: {},
        goodput: null,
        numPrompts: 1,
        raw: [],
        flags: [],
      });
    },
    [Symbol.asyncDispose]: async () => Promise.resolve(),
  };
  const facts = { workDir: '/w', deviceType: 'npu', warning: undefined } as const;
  const world: World = {
    clock,
    connector: {
      async connect({ host }) {
        log.push(['connect', host]);
        if (plan.connect_fail?.includes(host) === true) throw new CommunicationError(`cannot reach ${host}`);
        return Promise.resolve(executor(host));
      },
    },
    probe: {
      inspect: async () => Promise.resolve(facts),
      memoryInUse: async () => Promise.resolve(undefined),
      memoryHolders: async () => Promise.resolve(''),
    },
    lock: { take: async () => Promise.resolve({ facts, found: '' }) },
    http: {
      async status(url) {
        log.push(['GET', url]);
        // A script of errors alone is a service that never comes up, however often it is asked.
        const answer = answers.length === 0 ? 200 : neverUp ? 'err' : answers.shift();
        return Promise.resolve(answer === 'err' ? undefined : Number(answer));
      },
      text: async () => Promise.resolve(undefined),
      listens: async () => Promise.resolve(false),
    },
    runtime: {
      name: 'scripted',
      token: () => 't',
      wrap: (command) => command,
      wrapOnHost: (command) => command,
      reap: () => ({ argv: ['reap'] }),
      count: () => ({ argv: ['count'] }),
      census: () => ({ argv: ['census'] }),
      dismiss: () => ({ argv: ['dismiss'] }),
    },
    engine: scriptEngine,
    controller: async () => Promise.reject(new Error('none')),
    createBenchmark: async () => Promise.resolve(benchmark),
    run: async (work) => clock.run(work),
  };
  const field = { name: 'N', config_position: 'env', min: 1, max: 9, dtype: 'int', value: 1 };
  const group = (id: number) => ({ group_id: id, nodes: [{ host: `m${id}` }, { host: `w${id}` }] });
  const values = {
    script: { target_field: [field] },
    parallel: {
      enabled: true,
      retry_count: retries,
      defaults: {
        health_check_timeout: limit,
        ...(input.stop_script === null ? {} : { stop_script: input.stop_script }),
      },
      service_groups: Array.from({ length: count }, (_, id) => group(id)),
    },
  };
  const settings = resolveSettings({ document: { values, origin: {}, files: [] }, flags: {} }, registry);
  const store = {
    runId: 'r',
    directory: '/r',
    append: async () => Promise.resolve(),
    keep: async () => Promise.resolve(),
    [Symbol.asyncDispose]: async () => Promise.resolve(),
  };
  const wiring = { settings, events: { emit: () => undefined }, world, store };
  const { pool } = wireGroups(wiring);
  const loadHosts = new LoadHosts(world, settings.parallel.service_groups[0]!.nodes[0]!);
  const dispatcher = wireDispatcher({ ...wiring, pool, benchmark, loadHosts });
  using stop = childController();
  return await world.run(
    (async (): Promise<Played> => {
      try {
        await pool.setup(stop.signal);
      } catch {
        return { setupOk: false, records: [], usable: 0, log };
      }
      const asked = Array.from({ length: particles }, (_, i) => ({ N: i + 1 }));
      const records = await dispatcher.evaluateParticles(asked, stop.signal);
      await clock.sleep(ms(1), stop.signal);
      const { usable } = pool;
      await pool[Symbol.asyncDispose]();
      return { setupOk: true, records, usable, log };
    })(),
  );
}
