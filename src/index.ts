export { connectGroups, tune, type ConnectedGroups, type LibraryOptions } from './library.ts';
export {
  createOptimizer,
  type AskAndTell,
  type Asked,
  type OptimizerOptions,
  type SearchConstraint,
  type Told,
} from './ask-and-tell.ts';
export { registry, runStudy, type StudyOptions, type StudyOutcome } from './compose.ts';
export * from './base/errors.ts';
export { EventBus, type EventSink, type RunEvent } from './base/events.ts';
export { NodeConfig, ParallelConfig, ServiceGroupConfig } from './config/parallel-config.ts';
export { resolveSettings, type Flags, type Settings, type SettingsInput } from './config/settings.ts';
export { readConfig } from './config/sources.ts';
export { CircuitBreaker, circuitPolicy, type CircuitPolicy } from './core/resilience/circuit-breaker.ts';
export { retryDelay, shouldRetry, type RetryPolicy } from './core/resilience/retry-policy.ts';
export type { Optimizer, Suggestion, Judgement, Incumbent } from './core/pso/optimizer.ts';
export { PSOOptimizer } from './core/pso/pso.ts';
export { RandomSearch } from './core/pso/random.ts';
export { SynchronousPso } from './core/pso/synchronous.ts';
export { createSearchSpace, type SearchSpace } from './core/space/space.ts';
export type { Field, ParamValue, ServingParams } from './core/space/field.ts';
export { HealthMonitor, type GroupHealth, type HealthSummary } from './parallel/health-monitor.ts';
export { ParticleDispatcher, type DispatcherOptions } from './parallel/particle-dispatcher.ts';
export type * from './parallel/ports.ts';
export type { DispatcherSummary } from './parallel/tally.ts';
export { ServiceGroup } from './parallel/service-group.ts';
export { ServiceGroupPool } from './parallel/service-group-pool.ts';
export { LocalExecutor, RemoteExecutor } from './remote/remote-executor.ts';
export type { Summary, TrialSummary } from './report/summary.ts';
