import { deviceVariables } from '../../src/engines/shape.ts';
import type { TopologyNode } from '../../src/parallel/ports.ts';
import { script } from '../../src/remote/quote.ts';
import { CircuitBreaker } from '../../src/core/resilience/circuit-breaker.ts';
import type { Field } from '../../src/core/space/field.ts';
import { ms } from '../../src/base/units.ts';
import { decode, type Case } from './compare.ts';

/** A field of the vectors as one of ours: their extra keys name the types of the original's language. */
export function field(given: Case): Field {
  const { name, config_position, min, max, dtype, value, dtype_param, constant } = decode(given) as Field;
  return {
    name,
    config_position,
    min,
    max,
    dtype,
    value,
    dtype_param: dtype_param ?? null,
    constant: constant ?? null,
  };
}

interface TestBreaker extends Pick<
  CircuitBreaker,
  'state' | 'circuit' | 'fail' | 'succeed' | 'enter' | 'admits'
> {
  tick(seconds: number): void;
}

export function breakerOf(config: Case): TestBreaker {
  let now = 0;
  const breaker = new CircuitBreaker(() => ms(now), {
    failureThreshold: config.failure_threshold,
    successThreshold: config.success_threshold,
    coolDown: ms(config.timeout_seconds * 1000),
    halfOpenMax: config.half_open_max_calls,
  });
  return Object.assign(breaker, { tick: (seconds: number) => void (now += seconds * 1000) });
}

/** Replays the events; stops where the original's dead end or its restarted timer begins. */
export function replayBreaker(input: Case): { sawHalfOpenOutcome: boolean; sawFailureWhileOpen: boolean } {
  let breaker = breakerOf(input.config);
  for (const { op, seconds } of input.events as Case[]) {
    const { state } = breaker;
    if (state === 'half_open' && (op === 'ok' || op === 'fail'))
      return { sawHalfOpenOutcome: true, sawFailureWhileOpen: false };
    if (state === 'open' && op === 'fail') return { sawHalfOpenOutcome: false, sawFailureWhileOpen: true };
    if (op === 'tick') breaker.tick(seconds);
    else if (op === 'fail') breaker.fail();
    else if (op === 'ok') breaker.succeed();
    else if (op === 'allow' && breaker.admits()) breaker.enter();
    else if (op === 'reset') breaker = breakerOf(input.config);
  }
  return { sawHalfOpenOutcome: false, sawFailureWhileOpen: false };
}

/** What runs on a node for a command line of the original. */
export function remoteCommand({ npu_ids: deviceIds, command, env, cwd }: Case): string {
  const devices = deviceVariables({ deviceType: 'npu', deviceIds } as TopologyNode);
  const where = cwd === null || cwd === '' ? {} : { cwd };
  return script({ argv: ['sh', '-c', command], env: { ...env, ...devices }, ...where });
}
