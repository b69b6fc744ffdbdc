import { abortable, childController, type ChildController } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import { ms } from '../base/units.ts';
import { need } from '../base/assert.ts';
import { SimulatorHealthCheckError, SimulatorStopError, type ModelEvalStateError } from '../base/errors.ts';
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

/** What a service can be asked, and what its end means. */
export interface Handling {
  readonly clock: Clock;
  readonly engine: string;
  readonly target: BenchmarkTarget;
  readonly answers: (signal: AbortSignal) => Promise<boolean>;
  readonly diedUnderLoad: () => ModelEvalStateError;
  /** How many processes of it there are; undefined: another manager has them. */
  readonly children: ((signal: AbortSignal) => Promise<number>) | undefined;
  readonly vanished: () => Error;
  readonly stop: () => Promise<void>;
}

/** A start script that returned 0 left its children to us: the service lives as long as one of them does. */
async function watchChildren(
  main: RemoteProcess,
  children: (signal: AbortSignal) => Promise<number>,
  { clock, vanished }: Handling,
  service: ChildController,
): Promise<void> {
  try {
    await abortable(main.exited, service.signal);
    while ((await children(service.signal)) > 0) await clock.sleep(ms(1000), service.signal);
    service.abort(vanished());
  } catch (error) {
    if (!service.signal.aborted) service.abort(error);
  }
}

/** The healthy service that these processes are, until `died`. */
export function handleOf(
  started: readonly WatchedProcess[],
  died: AbortSignal,
  handling: Handling,
): RunningService {
  const main = need(started.at(-1), 'process').process;
  const child = childController(died);
  const { target, engine, children } = handling;
  if (children !== undefined) void watchChildren(main, children, handling, child);
  return {
    target,
    failed: child.signal,
    logFile: main.logFile,
    stillAnswers: async (signal) => {
      if (!(await handling.answers(signal))) throw handling.diedUnderLoad();
    },
    tail: () =>
      started
        .map(({ host, process }) => `==> ${host} ${process.logFile}\n${process.tail.join('\n')}\n`)
        .join('\n'),
    [Symbol.asyncDispose]: async () => {
      child.abort(new SimulatorStopError(engine, undefined, 'it is being stopped'));
      child[Symbol.dispose]();
      await handling.stop();
    },
  };
}
