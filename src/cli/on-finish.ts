import { spawn } from 'node:child_process';
import type { Summary } from '../report/summary.ts';

/** Runs a command of the user when a run of hours has ended; what it does and says does not change the exit code. */
export async function onFinish(
  command: string,
  { run_id, status, exit_code }: Summary,
  directory: string,
): Promise<void> {
  const env = {
    ...process.env,
    OPTIMIZER_RUN_ID: run_id,
    OPTIMIZER_STATUS: status,
    OPTIMIZER_EXIT_CODE: String(exit_code),
    OPTIMIZER_RUN_DIR: directory,
  };
  await new Promise<void>((done) => {
    // Its words are no part of the answer.
    const child = spawn('sh', ['-c', command], { env, stdio: ['ignore', process.stderr, process.stderr] });
    child.on('error', (error) => {
      process.stderr.write(`note: --on-finish: ${error.message}\n`);
      done();
    });
    child.on('close', (code) => {
      if (code !== 0)
        process.stderr.write(`note: --on-finish ended with exit code ${code ?? 'of a signal'}\n`);
      done();
    });
  });
}
