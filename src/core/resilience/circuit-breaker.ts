import { ms, type Ms } from '../../base/units.ts';

export interface CircuitPolicy {
  /** Failures in a row that open the circuit. */
  readonly failureThreshold: number;
  /** Successes that close a half-open circuit. */
  readonly successThreshold: number;
  /** From opening to half-open. */
  readonly coolDown: Ms;
  /** Trials at the same time while half-open. */
  readonly halfOpenMax: number;
  /** Opens as well when `failures` of the last `size` outcomes failed: a flaky group never fails often in a row. */
  readonly window?: { readonly size: number; readonly failures: number };
}

export const circuitPolicy: CircuitPolicy = {
  failureThreshold: 5,
  successThreshold: 2,
  coolDown: ms(60_000),
  halfOpenMax: 3,
  window: { size: 10, failures: 5 },
};

export type Circuit =
  | { readonly state: 'closed'; readonly failures: number; readonly recent: readonly boolean[] }
  | { readonly state: 'open'; readonly failures: number; readonly openedAt: Ms }
  | {
      readonly state: 'half_open';
      readonly failures: number;
      readonly successes: number;
      readonly inFlight: number;
    };

export const closedCircuit: Circuit = { state: 'closed', failures: 0, recent: [] };

/** On probation: what is behind it has to show that it works. */
export const halfOpen = ({ failures }: Pick<Circuit, 'failures'>): Circuit => ({
  state: 'half_open',
  failures,
  successes: 0,
  inFlight: 0,
});

/** The circuit as it is now: an open one becomes half-open when it has cooled down. */
export function settle(circuit: Circuit, now: Ms, policy: CircuitPolicy): Circuit {
  if (circuit.state !== 'open' || now - circuit.openedAt < policy.coolDown) return circuit;
  return halfOpen(circuit);
}

/** Whether a settled circuit lets a trial through. */
export function admits(circuit: Circuit, policy: CircuitPolicy): boolean {
  return (
    circuit.state === 'closed' || (circuit.state === 'half_open' && circuit.inFlight < policy.halfOpenMax)
  );
}

/** Takes a place while half-open; every outcome gives one back. */
export function enter(circuit: Circuit): Circuit {
  return circuit.state === 'half_open' ? { ...circuit, inFlight: circuit.inFlight + 1 } : circuit;
}

/** Gives the place back of a trial that says nothing about the group. */
export function leave(circuit: Circuit): Circuit {
  return circuit.state === 'half_open'
    ? { ...circuit, inFlight: Math.max(0, circuit.inFlight - 1) }
    : circuit;
}

const remember = (recent: readonly boolean[], failed: boolean, policy: CircuitPolicy): readonly boolean[] =>
  policy.window === undefined ? [] : [...recent, failed].slice(-policy.window.size);

export function succeed(circuit: Circuit, policy: CircuitPolicy): Circuit {
  switch (circuit.state) {
    case 'closed':
      return { state: 'closed', failures: 0, recent: remember(circuit.recent, false, policy) };
    case 'open': // a straggler from before it opened
      return { ...circuit, failures: 0 };
    case 'half_open': {
      const successes = circuit.successes + 1;
      if (successes >= policy.successThreshold) return closedCircuit;
      return { ...leave(circuit), failures: 0, successes } as Circuit;
    }
  }
}

/** The cool-down counts from the opening: failures of stragglers do not restart it. */
export function fail(circuit: Circuit, now: Ms, policy: CircuitPolicy): Circuit {
  const failures = circuit.failures + 1;
  switch (circuit.state) {
    case 'open':
      return { ...circuit, failures };
    case 'half_open':
      return { state: 'open', failures, openedAt: now };
    case 'closed': {
      const recent = remember(circuit.recent, true, policy);
      const flaky = policy.window !== undefined && recent.filter(Boolean).length >= policy.window.failures;
      if (failures >= policy.failureThreshold || flaky) return { state: 'open', failures, openedAt: now };
      return { state: 'closed', failures, recent };
    }
  }
}

/** One group's circuit. */
export class CircuitBreaker {
  readonly #policy: CircuitPolicy;
  readonly #now: () => Ms;
  #circuit: Circuit;

  constructor(now: () => Ms, policy: CircuitPolicy = circuitPolicy, circuit: Circuit = closedCircuit) {
    this.#now = now;
    this.#policy = policy;
    this.#circuit = circuit;
  }

  get circuit(): Circuit {
    this.#circuit = settle(this.#circuit, this.#now(), this.#policy);
    return this.#circuit;
  }

  get state(): Circuit['state'] {
    return this.circuit.state;
  }

  /** How long until it lets a trial through again: 0 unless it is open. */
  get coolDownLeft(): Ms {
    const circuit = this.circuit;
    if (circuit.state !== 'open') return ms(0);
    return ms(Math.max(0, circuit.openedAt + this.#policy.coolDown - this.#now()));
  }

  admits(): boolean {
    return admits(this.circuit, this.#policy);
  }

  /** Ends the cool-down before its time: what is behind it was looked at and answers. */
  probe(): void {
    if (this.state === 'open') this.#circuit = halfOpen(this.#circuit);
  }

  enter(): void {
    this.#circuit = enter(this.circuit);
  }

  leave(): void {
    this.#circuit = leave(this.circuit);
  }

  succeed(): void {
    this.#circuit = succeed(this.circuit, this.#policy);
  }

  fail(): void {
    this.#circuit = fail(this.circuit, this.#now(), this.#policy);
  }
}
