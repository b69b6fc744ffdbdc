import { childController, type ChildController } from '../base/cancellation.ts';
import { SimulatorHealthCheckError, type ModelEvalStateError } from '../base/errors.ts';
import type { BenchmarkTarget, RemoteProcess } from './ports.ts';

/** A healthy service. Disposing it ends every process of it on every node and proves that they are gone. */
export interface RunningService extends AsyncDisposable {
  readonly target: BenchmarkTarget;
  /** Aborts with the reason when a process of the service, or a node, is lost. */
  readonly failed: AbortSignal;
  readonly logFile: string;
  /** @throws SimulatorHealthCheckError when nothing answers at its probe any more */
  stillAnswers(signal: AbortSignal): Promise<void>;
  /** Newest log lines of all nodes, for the trial's folder. */
  tail(): string;
}

export interface WatchedProcess {
  readonly rank: number;
  readonly host: string;
  readonly process: RemoteProcess;
}

/** Aborts as soon as one of the processes ends in a way that ends the service. */
export function watch(
  processes: readonly WatchedProcess[],
  diagnose: (watched: WatchedProcess, exitCode: number) => ModelEvalStateError,
): AbortSignal {
  const controller = childController();
  for (const watched of processes) {
    void watched.process.exited.then((exit) => {
      if (exit.kind === 'lost') {
        controller.abort(
          new SimulatorHealthCheckError(`service on ${watched.host}`, watched.host, undefined, {
            cause: exit.cause,
            blame: 'node',
            remedy: `Check the connection to ${watched.host}; the particle goes on elsewhere.`,
          }),
        );
        return;
      }
      const code = exit.kind === 'code' ? exit.code : 137;
      // A script may start the service and return: its children are watched by the probe from then on.
      if (code !== 0) controller.abort(diagnose(watched, code));
    });
  }
  return controller.signal;
}

/** A line that tells the end ends the wait, before the process notices itself. */
export function watchLogs(
  processes: readonly WatchedProcess[],
  fatalLine: (watched: WatchedProcess, line: string) => ModelEvalStateError | undefined,
  fatal: ChildController,
): void {
  for (const watched of processes) {
    watched.process.onLine((line) => {
      try {
        const error = fatalLine(watched, line);
        if (error !== undefined) fatal.abort(error);
      } catch (error) {
        fatal.abort(error); // a pattern of a user's own engine, say
      }
    });
  }
}
