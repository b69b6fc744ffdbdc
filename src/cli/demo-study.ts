import type { Table } from '../config/toml.ts';

/** The seed of the demonstration that the documentation shows. */
export const demoSeed = 7;

/** What `demo` tunes. */
export const demoStudy: Table = {
  engine: 'emulator',
  n_particles: 6,
  iters: 2,
  load_probes: 3,
  confirm_runs: 2,
  ttft_slo: 1,
  tpot_slo: 0.04,
  tpot_penalty: 2,
  success_rate_slo: 1,
  generate_speed_target: 2500,
  data_storage: { pso_top_k: 1 },
  emulator: { preset: 'demo' },
  builtin: { num_prompts: 96, num_warmups: 4, input_len: 192, output_len: 40, timeout: 45 },
};

/** What `--simulate` tunes where no engine is configured: the same, with the time for a thorough search. */
export const simulatedStudy: Table = {
  ...demoStudy,
  n_particles: 10,
  iters: 10,
  load_probes: 5,
  confirm_runs: 3,
  data_storage: { pso_top_k: 3 },
  builtin: { num_prompts: 600, input_len: 192, output_len: 40 },
};
