/**
 * Who is at fault decides what happens next (docs/errors.md):
 * params → infeasible, load → that load is out, node → retried on another group, benchmark → measured again,
 * operator → the run stops with the remedy, program → the run stops with a report.
 */
export type Blame = 'params' | 'load' | 'node' | 'benchmark' | 'operator' | 'program';

export type Details = Readonly<Record<string, unknown>>;

export interface ErrorOptions {
  readonly cause?: unknown;
  readonly blame?: Blame;
  /** One imperative sentence. */
  readonly remedy?: string;
}

/** `repr` of the original's language for the scalar values that error texts contain. */
function display(value: unknown): string {
  if (value === null || value === undefined) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (typeof value !== 'string' && typeof value !== 'number') return JSON.stringify(value);
  return String(value);
}

function given(details: Record<string, unknown>): Details {
  return Object.fromEntries(
    Object.entries(details).filter(([, value]) => {
      if (value === undefined || value === null || value === '' || value === 0 || value === false)
        return false;
      return !(typeof value === 'object' && Object.keys(value).length === 0);
    }),
  );
}

/** Root of all errors of this program. `message` is the bare text; `toString()` appends the details. */
export class ModelEvalStateError extends Error {
  override readonly name: string;
  readonly details: Details;
  readonly blame: Blame;
  readonly remedy: string;

  constructor(message: string, details: Details = {}, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.details = details;
    this.blame = options.blame ?? 'program';
    this.remedy = options.remedy ?? 'Look at the log of the run for what happened before.';
  }

  /** Where it is explained. */
  get help(): string {
    return `docs/errors.md#${this.name.toLowerCase()}`;
  }

  override toString(): string {
    const entries = Object.entries(this.details).map(([key, value]) => `${key}=${display(value)}`);
    return entries.length === 0 ? this.message : `${this.message} (${entries.join(', ')})`;
  }
}

const defaults = (options: ErrorOptions | undefined, blame: Blame, remedy: string): ErrorOptions => ({
  blame,
  remedy,
  ...options,
});

export class ConfigurationError extends ModelEvalStateError {
  constructor(message: string, details?: Details, options?: ErrorOptions) {
    super(message, details, defaults(options, 'operator', 'Correct the configuration and start again.'));
  }
}

export class ConfigPathError extends ConfigurationError {
  constructor(path: string, reason: string, configFile?: string, options?: ErrorOptions) {
    const details = { path, reason, ...given({ config_file: configFile }) };
    super(`Invalid configuration path '${path}': ${reason}`, details, options);
  }
}

export class ConfigValidationError extends ConfigurationError {
  constructor(field: string, value: unknown, constraint: string, options?: ErrorOptions) {
    super(
      `Configuration validation failed for '${field}': ${constraint}`,
      { field, value, constraint },
      options,
    );
  }
}

export class OptimizationError extends ModelEvalStateError {}

export class PSOConvergenceError extends OptimizationError {
  constructor(iterations: number, bestFitness: number, targetFitness?: number, options?: ErrorOptions) {
    super(
      `PSO failed to converge after ${iterations} iterations (best fitness: ${display(bestFitness)})`,
      { iterations, best_fitness: bestFitness, ...given({ target_fitness: targetFitness }) },
      defaults(options, 'params', 'Raise iters or widen the bounds of the fields.'),
    );
  }
}

export class FitnessCalculationError extends OptimizationError {
  constructor(reason: string, performanceIndex?: object, options?: ErrorOptions) {
    super(
      `Fitness calculation failed: ${reason}`,
      { reason, ...given({ performance_index: performanceIndex }) },
      defaults(options, 'benchmark', 'Look at the raw benchmark output of the trial.'),
    );
  }
}

export class SimulatorError extends ModelEvalStateError {
  constructor(message: string, details?: Details, options?: ErrorOptions) {
    super(message, details, defaults(options, 'node', 'Look at the service log on the node.'));
  }
}

export class SimulatorStartError extends SimulatorError {
  constructor(simulatorType: string, reason: string, command?: string, options?: ErrorOptions) {
    super(
      `Failed to start ${simulatorType} simulator: ${reason}`,
      { simulator_type: simulatorType, reason, ...given({ command }) },
      options,
    );
  }
}

export class SimulatorStopError extends SimulatorError {
  constructor(simulatorType: string, pid?: number, reason?: string, options?: ErrorOptions) {
    const because = reason === undefined || reason === '' ? '' : `: ${reason}`;
    super(
      `Failed to stop ${simulatorType} simulator${because}`,
      { simulator_type: simulatorType, ...given({ pid, reason }) },
      defaults(options, 'node', 'Run `optimizer clean` with the same hosts.'),
    );
  }
}

export class SimulatorHealthCheckError extends SimulatorError {
  constructor(simulatorType: string, url: string, statusCode?: number, options?: ErrorOptions) {
    super(
      `Health check failed for ${simulatorType} simulator at ${url}`,
      { simulator_type: simulatorType, url, ...given({ status_code: statusCode }) },
      options,
    );
  }
}

export class BenchmarkError extends ModelEvalStateError {
  constructor(message: string, details?: Details, options?: ErrorOptions) {
    super(message, details, defaults(options, 'benchmark', 'Look at the raw benchmark output of the trial.'));
  }
}

export class BenchmarkExecutionError extends BenchmarkError {
  constructor(benchmarkType: string, reason: string, exitCode?: number | null, options?: ErrorOptions) {
    const exit = exitCode === undefined || exitCode === null ? {} : { exit_code: exitCode };
    super(
      `Benchmark execution failed for ${benchmarkType}: ${reason}`,
      { benchmark_type: benchmarkType, reason, ...exit },
      options,
    );
  }
}

export class BenchmarkParseError extends BenchmarkError {
  constructor(benchmarkType: string, output: string, reason: string, options?: ErrorOptions) {
    super(
      `Failed to parse ${benchmarkType} benchmark output: ${reason}`,
      { benchmark_type: benchmarkType, reason, output_preview: output.slice(0, 200) },
      options,
    );
  }
}

export class CommunicationError extends ModelEvalStateError {
  constructor(message: string, details?: Details, options?: ErrorOptions) {
    super(message, details, defaults(options, 'node', 'Check that the host is up and reachable by SSH.'));
  }
}

export class IPCTimeoutError extends CommunicationError {
  constructor(operation: string, timeoutSeconds: number, options?: ErrorOptions) {
    super(
      `IPC operation '${operation}' timed out after ${timeoutSeconds}s`,
      { operation, timeout_seconds: timeoutSeconds },
      options,
    );
  }
}

export class IPCCommandError extends CommunicationError {
  constructor(command: string, reason: string, response?: string, options?: ErrorOptions) {
    super(`IPC command '${command}' failed: ${reason}`, { command, reason, ...given({ response }) }, options);
  }
}

/** Any thrown thing as one of ours: what is not ours is a defect of this program. */
export function asOptimizerError(error: unknown): ModelEvalStateError {
  if (error instanceof ModelEvalStateError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ModelEvalStateError(
    `Internal error: ${message}`,
    {},
    { cause: error, blame: 'program', remedy: 'Report this with the log of the run.' },
  );
}
