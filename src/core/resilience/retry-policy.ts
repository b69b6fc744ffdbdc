import { ms, type Ms } from '../../base/units.ts';

export interface RetryPolicy {
  /** Attempts after the first. */
  readonly maxRetries: number;
  readonly initialDelay: Ms;
  readonly maxDelay: Ms;
  readonly exponentialBase: number;
  /** Share of the delay by which it is spread, both ways. */
  readonly jitter: number;
}

/** `attempt` counts from 0. */
export function shouldRetry(attempt: number, policy: RetryPolicy): boolean {
  return attempt < policy.maxRetries;
}

/**
 * Exponential back-off before attempt + 1.
 * @param draw uniform in [0, 1): 0 gives the shortest delay, 0.5 the middle one
 */
export function retryDelay(attempt: number, policy: RetryPolicy, draw: number): Ms {
  const delay = Math.min(policy.initialDelay * policy.exponentialBase ** attempt, policy.maxDelay);
  return ms(Math.max(0, delay + (2 * draw - 1) * delay * policy.jitter));
}
