import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { groupId, ms } from '../../src/base/units.ts';
import { CircuitBreaker, circuitPolicy } from '../../src/core/resilience/circuit-breaker.ts';
import { isConvicted } from '../../src/core/resilience/conviction.ts';
import { diagnose, type Death } from '../../src/core/resilience/start-failure.ts';
import { commonPatterns } from '../../src/engines/log-patterns.ts';

describe('the circuit of a group', () => {
  test('opens after five failures in a row, and not after four', () => {
    const breaker = new CircuitBreaker(() => ms(0));
    for (let i = 0; i < 4; i++) breaker.fail();
    breaker.succeed();
    for (let i = 0; i < 4; i++) breaker.fail();
    expect(breaker.state).toBe('open'); // 8 of the last 9 failed
    const other = new CircuitBreaker(() => ms(0), { ...circuitPolicy, window: { size: 10, failures: 11 } });
    for (let i = 0; i < 4; i++) other.fail();
    expect(other.state).toBe('closed');
    other.fail();
    expect(other.state).toBe('open');
  });

  test('opens for a group that fails every other time', () => {
    const breaker = new CircuitBreaker(() => ms(0));
    for (let i = 0; i < 5; i++) {
      expect(breaker.state).toBe('closed');
      breaker.succeed();
      breaker.fail();
    }
    expect(breaker.state).toBe('open');
  });

  test('lets trials through on probation when what is behind it was looked at', () => {
    const circuit = new CircuitBreaker(() => ms(0));
    circuit.probe();
    expect(circuit.state).toBe('closed');
    for (let i = 0; i < circuitPolicy.failureThreshold; i++) circuit.fail();
    expect(circuit.admits()).toBe(false);
    circuit.probe();
    expect({ state: circuit.state, admits: circuit.admits() }).toEqual({ state: 'half_open', admits: true });
    circuit.fail();
    expect(circuit.state).toBe('open');
  });

  test('is never a dead end', () => {
    const step = fc.constantFrom('fail', 'succeed', 'enter', 'leave', 'tick');
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let now = 0;
        const breaker = new CircuitBreaker(() => ms(now));
        for (const one of steps) {
          if (one === 'tick') now += 20_000;
          else if (one !== 'enter' || breaker.admits()) breaker[one]();
        }
        // Those who are inside come out, and time passes.
        for (let i = 0; i < 3; i++) breaker.leave();
        now += 60_000;
        expect(breaker.admits()).toBe(true);
        for (let i = 0; i < 2; i++) breaker.succeed();
        expect(breaker.state).toBe('closed');
      }),
    );
  });
});

test('a configuration is convicted by two groups that scored another one since', () => {
  const failures = [
    { groupId: groupId(0), scoredBefore: 3 },
    { groupId: groupId(1), scoredBefore: 0 },
  ];
  expect(isConvicted(failures, () => 3)).toBe(false);
  expect(isConvicted(failures, (group) => (group === 0 ? 4 : 1))).toBe(true);
  expect(isConvicted([failures[0]!, failures[0]!], () => 9)).toBe(false);
});

describe('a service that ended by itself', () => {
  const death: Death = {
    exitCode: 1,
    tail: [],
    patterns: commonPatterns,
    groupProven: true,
    runProven: true,
    isCurrent: false,
  };
  test.each([
    [
      'out of memory',
      {
        tail: [
          'RuntimeError: CUDA out of memory. Tried to allocate 2 GiB',
          'Engine core initialization failed',
        ],
      },
      'params',
    ],
    ['a taken port', { tail: ['OSError: [Errno 98] Address already in use'] }, 'node'],
    ['the first of several causes', { tail: ['No space left on device', 'CUDA out of memory'] }, 'node'],
    ['killed by the host', { exitCode: 137 }, 'node'],
    ['a missing command', { exitCode: 127 }, 'operator'],
    ['a script that is not executable', { exitCode: 126 }, 'operator'],
    [
      'the present configuration, before anything has run',
      { groupProven: false, runProven: false, isCurrent: true },
      'operator',
    ],
    ['another one on a group that works', {}, 'params'],
    ['another one on a group that nobody knows', { groupProven: false }, 'node'],
  ] as const)('%s', (_name, more, blame) => {
    const found = diagnose({ ...death, ...more });
    expect(found.blame).toBe(blame);
    expect(found.remedy).not.toBe('');
  });
});
