import { need } from '../base/assert.ts';
import {
  SimulatorHealthCheckError,
  SimulatorStartError,
  type Blame,
  type ModelEvalStateError,
} from '../base/errors.ts';
import { toSeconds, type Ms } from '../base/units.ts';
import { diagnose, firstMatch, reasonOf } from '../core/resilience/start-failure.ts';
import type { LogPattern } from './ports.ts';
import type { WatchedProcess } from './running-service.ts';

/** What is known of the machines when a service fails. */
export interface Experience {
  readonly groupProven: boolean;
  readonly runProven: boolean;
  readonly isCurrent: boolean;
}

/** The ways in which a service fails to live, as errors that say whose fault it is. */
export class ServiceErrors {
  readonly #engine: string;
  readonly #patterns: readonly LogPattern[];

  constructor(engine: string, patterns: readonly LogPattern[]) {
    this.#engine = engine;
    this.#patterns = patterns;
  }

  death({ host, process }: WatchedProcess, exitCode: number, experience: Experience): ModelEvalStateError {
    const found = diagnose({ exitCode, tail: process.tail, patterns: this.#patterns, ...experience });
    return this.#start(`${found.reason} (${host}, ${process.logFile})`, found.blame, found.remedy);
  }

  /** A line that tells the end before the process notices itself; undefined for any other line. */
  fatalLine({ host, process }: WatchedProcess, line: string): ModelEvalStateError | undefined {
    const patterns = this.#patterns.filter((pattern) => pattern.fatal);
    const match = firstMatch([line], patterns);
    if (match === undefined) return undefined;
    const reason = `${reasonOf(match)} (${host}, ${process.logFile})`;
    return this.#start(reason, match.pattern.blame, match.pattern.remedy);
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
    const found = firstMatch(process.tail, this.#patterns);
    const told = found === undefined ? '' : `: ${reasonOf(found)}`;
    const unknown: Blame = groupProven ? 'params' : runProven ? 'node' : 'operator';
    return this.#start(
      `the start script returned 0 but left no process behind (${host}, ${process.logFile})${told}`,
      found?.pattern.blame ?? unknown,
      found?.pattern.remedy ??
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
