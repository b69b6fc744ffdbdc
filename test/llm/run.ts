import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { never } from '../../src/base/cancellation.ts';
import { EventBus } from '../../src/base/events.ts';
import { registry, runStudy } from '../../src/compose.ts';
import { resolveSettings } from '../../src/config/settings.ts';
import type { JournalEntry, TrialRecord } from '../../src/parallel/records.ts';
import { localConnector } from '../../src/remote/remote-executor.ts';
import { plainLine } from '../../src/ui/plain.ts';
import { writeModel } from './gguf.ts';

/**
 * `npm run test:llm`: tunes a real inference engine, llama.cpp on the processor, with a model of random weights. Two
 * groups on this machine take turns, because inference on a processor suffers from everything else that runs.
 */

const modules = resolve('node_modules/.cache/llm');
const llama = 'node-llama-cpp@3.22.1';

function install(): void {
  if (existsSync(join(modules, 'node_modules/node-llama-cpp'))) return;
  mkdirSync(modules, { recursive: true });
  writeFileSync(join(modules, 'package.json'), '{ "private": true }\n');
  console.log(`installing ${llama}`);
  const prebuilt = `@node-llama-cpp/linux-${process.arch === 'arm64' ? 'arm64' : 'x64'}@3.22.1`;
  execFileSync('npm', ['install', '--omit=optional', '--no-audit', '--no-fund', llama, prebuilt], {
    cwd: modules,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
}

/** Processes that carry a mark of this test, whatever our own bookkeeping says. */
function left(mark: string): number {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/environ`, 'utf8').includes(`LLM_MODEL=${mark}`);
    } catch {
      return false;
    }
  }).length;
}

install();
const directory = mkdtempSync(join(tmpdir(), 'optimizer-llm-'));
const model = join(directory, 'random.gguf');
const shape = {
  embedding: 512,
  layers: 6,
  heads: 8,
  kvHeads: 4,
  feedForward: 1376,
  words: 800,
  context: 4096,
};
const { parameters } = writeModel(model, shape);
const start = join(directory, 'start.sh');
const server = resolve(import.meta.dirname, 'server.mjs');
writeFileSync(
  start,
  `#!/bin/sh\nexec flock ${join(directory, 'turn')} ${process.execPath} ${server} "$@"\n`,
  { mode: 0o755 },
);

const port = 33_000 + (process.pid % 1000) * 2;
const cores = availableParallelism();
const field = (name: string, min: number, max: number, value: number) => ({
  name,
  config_position: 'env',
  dtype: 'int',
  min,
  max,
  value,
  ...(min > 0 && max / min >= 8 ? { scale: 'log' } : {}),
});
const group = (id: number) => ({
  group_id: id,
  nodes: [{ host: `local${id}`, work_dir: join(directory, `work${id}`) }],
  config_path: join(directory, `config${id}.json`),
  health_check_url: `http://{host}:${port + id}/health`,
  env: { LLM_PORT: String(port + id) },
});
const values = {
  engine: 'script',
  output: join(directory, 'result'),
  n_particles: 6,
  iters: 4,
  confirm_runs: 1,
  ttft_slo: 4,
  tpot_slo: 0.2,
  tpot_penalty: 1,
  generate_speed_target: 500,
  data_storage: { pso_top_k: 3 },
  parallel: {
    enabled: true,
    retry_delay: 0.2,
    defaults: {
      start_script: start,
      device_type: 'none',
      env: { LLM_MODULES: modules, LLM_MODEL: model, OMP_WAIT_POLICY: 'passive' },
    },
    service_groups: [group(0), group(1)],
  },
  script: {
    // A deliberately poor baseline: one request at a time, in small steps, on one core.
    target_field: [
      field('SEQUENCES', 1, 9, 1),
      field('BATCH_SIZE', 16, 512, 16),
      field('THREADS', 1, 1 + Math.max(2, Math.min(4, cores)), 1),
    ],
  },
  builtin: {
    num_prompts: 24,
    num_warmups: 2,
    max_concurrency: 8,
    input_len: 24,
    output_len: 24,
    timeout: 120,
  },
};
const input = { document: { values, origin: {}, files: [] }, flags: { seed: 3 } };
const settings = resolveSettings(input, registry);
const events = new EventBus();
events.subscribe((event) => {
  const line = plainLine(event);
  if (line !== undefined) console.log(line);
});
const began = performance.now();
const { summary, paths, error } = await runStudy(
  { settings, input, events, world: { connector: localConnector } },
  never,
);
if (error !== undefined) throw error as Error;
const journal = readFileSync(paths.journal, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as JournalEntry);
const told = journal.flatMap((entry) => (entry.type === 'told' ? [entry.record] : []));
const again = (of: number): TrialRecord[] => told.filter((one) => one.confirms === of || one.trial_id === of);
const speeds = (records: readonly TrialRecord[]): number[] =>
  records.flatMap(({ verdict }) =>
    verdict.kind === 'scored' ? [verdict.performance.generate_speed ?? 0] : [],
  );

const { baseline, best } = summary;
const rows = [baseline, best].map((trial, index) => {
  const all = speeds(again(trial?.trial_id ?? -1));
  const {
    generate_speed: speed,
    time_to_first_token: ttft,
    time_per_output_token: tpot,
  } = trial?.performance ?? {};
  const words = Object.entries(trial?.params ?? {}).map(([name, value]) => `${name} ${String(value)}`);
  return `| ${index === 0 ? 'baseline' : 'recommended'} | ${words.join(', ')} | ${speed?.toFixed(0)} (${all.map((one) => one.toFixed(0)).join(', ')}) | ${((ttft ?? 0) * 1000).toFixed(0)} | ${((tpot ?? 0) * 1000).toFixed(1)} |`;
});
const gain = summary.improvement.generate_speed_ratio ?? 0;
const remaining = left(model);
console.log(`
llama.cpp by ${llama}, ${(parameters / 1e6).toFixed(1)} M parameters of random weights, ${cores} cores, Node ${process.version}
${told.length} measurements in ${((performance.now() - began) / 1000).toFixed(0)} s; ${summary.evaluations.infeasible} infeasible, ${summary.evaluations.failed} failed

| | configuration | tok/s (each measurement) | TTFT ms | TPOT ms |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

recommended / baseline: ${gain.toFixed(2)} ×; processes left: ${remaining}`);
rmSync(directory, { recursive: true, force: true });
const [slowest, fastest] = [Math.max(...speeds(again(0))), Math.min(...speeds(again(best?.trial_id ?? -1)))];
if (best === null || gain < 1.2 || fastest <= slowest || remaining > 0) {
  console.error(
    'FAILED: the recommendation is not measurably better than the baseline, or something is left running',
  );
  process.exitCode = 1;
}
