import { need } from '../base/assert.ts';
import {
  SimulatorHealthCheckError,
  SimulatorStartError,
  type Blame,
  type ModelEvalStateError,
} from '../base/errors.ts';
import { toSeconds, type Ms } from '../base/units.ts';
import { causeIn, diagnose, firstMatch, type Diagnosis } from '../core/resilience/start-failure.ts';
import type { LogPattern } from './ports.ts';
import type { WatchedProcess } from './running-service.ts';

/** What is known of the machines when a service fails. */
export interface Experience {
  readonly groupProven: boolean;
  readonly runProven: boolean;
  readonly isCurrent: boolean;
}

const unclear = Symbol('unclear');

/** The ways in which a service fails to live, as errors that say whose fault it is. */
export class ServiceErrors {
  readonly #engine: string;
  readonly #patterns: readonly LogPattern[];

  constructor(engine: string, patterns: readonly LogPattern[]) {
    this.#engine = engine;
    this.#patterns = patterns;
  }

  /** @param exitCode undefined: its log says that it ends */
  death(
    watched: WatchedProcess,
    exitCode: number | undefined,
    all: readonly WatchedProcess[],
    experience: Experience,
  ): ModelEvalStateError {
    const others = all.filter((one) => one !== watched);
    const found = diagnose({
      exitCode,
      tail: watched.process.tail,
      elsewhere: others.map(({ process }) => process.tail),
      patterns: this.#patterns,
      ...experience,
    });
    return this.#diagnosed(found, watched);
  }

  /** A line that tells the end before the process notices itself; undefined for any other line. */
  fatalLine(
    watched: WatchedProcess,
    line: string,
    all: readonly WatchedProcess[],
    experience: Experience,
  ): ModelEvalStateError | undefined {
    const match = firstMatch(
      [line],
      this.#patterns.filter((pattern) => pattern.fatal),
    );
    if (match === undefined) return undefined;
    if (match.pattern.wrapper === true) return this.death(watched, undefined, all, experience);
    const found = causeIn([[line]], this.#patterns);
    return found && this.#diagnosed(found, watched);
  }

  #diagnosed(
    { reason, blame, remedy, ambiguous }: Diagnosis,
    { host, process }: WatchedProcess,
  ): SimulatorStartError {
    const where = `${reason} (${host}, ${process.logFile})`;
    return new SimulatorStartError(this.#engine, where, undefined, {
      blame: ambiguous ? 'params' : blame,
      remedy,
      ...(ambiguous ? { cause: unclear } : {}),
    });
  }

  /** Whose fault it is depends on who holds the memory of the devices. */
  static isUnclear(error: unknown): error is SimulatorStartError {
    return error instanceof SimulatorStartError && error.cause === unclear;
  }

  heldElsewhere(error: SimulatorStartError, host: string, share: number): SimulatorStartError {
    const held = `${Math.round(100 * share)} % of a device's memory on ${host} is held by another process`;
    const reason = `${String(error.details['reason'])}; ${held}`;
    return this.#start(reason, 'node', `Look with nvidia-smi or npu-smi on ${host} for who holds it.`);
  }

  timeout(url: string, limit: Ms): ModelEvalStateError {
    return new SimulatorHealthCheckError(this.#engine, url, undefined, {
      blame: 'node',
      remedy: `Not healthy within ${toSeconds(limit)} s: raise health_check_timeout, or check health_check_url.`,
    });
  }

  silent(seconds: number): ModelEvalStateError {
    const remedy = 'It hangs; see the service log, or raise start_silence_timeout.';
    return this.#start(`nothing in its log for ${seconds.toFixed(0)} s`, 'node', remedy);
  }

  vanished(started: readonly WatchedProcess[], { groupProven, runProven }: Experience): ModelEvalStateError {
    const { host, process } = need(started.at(-1), 'process');
    const logs = [process.tail, ...started.slice(0, -1).map((one) => one.process.tail)];
    const found = causeIn(logs, this.#patterns);
    const told = found === undefined ? '' : `: ${found.reason}`;
    const unknown: Blame = groupProven ? 'params' : runProven ? 'node' : 'operator';
    return this.#start(
      `the start script returned 0 but left no process behind (${host}, ${process.logFile})${told}`,
      found?.blame ?? unknown,
      found?.remedy ??
        'Let the script start the service; set stop_script where another manager (docker, systemd) runs it.',
    );
  }

  /** It was healthy, and then a benchmark found nobody there. */
  diedUnderLoad(url: string, { groupProven }: Experience): ModelEvalStateError {
    return new SimulatorHealthCheckError(this.#engine, url, undefined, {
      blame: groupProven ? 'params' : 'node',
      remedy: 'It was healthy and ended under load; see the service log of the trial.',
    });
  }

  portInUse(host: string, port: number, blame: Blame): ModelEvalStateError {
    return this.#start(
      `port ${port} of ${host} is in use by something that is not ours`,
      blame,
      'Stop what listens there, or run `optimizer clean`, or change the port of health_check_url.',
    );
  }

  #start(reason: string, blame: Blame, remedy: string): SimulatorStartError {
    return new SimulatorStartError(this.#engine, reason, undefined, { blame, remedy });
  }
}
