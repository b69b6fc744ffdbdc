import pLimit from 'p-limit';
import { Condition } from '../base/condition.ts';
import { childController, overtaken, settleAll } from '../base/cancellation.ts';
import type { Clock } from '../base/clock.ts';
import { CommunicationError, asOptimizerError, type ModelEvalStateError } from '../base/errors.ts';
import type { EventSink } from '../base/events.ts';
import { ms, toSeconds, type GroupId, type Ms } from '../base/units.ts';
import { CircuitBreaker, circuitPolicy, type Circuit } from '../core/resilience/circuit-breaker.ts';
import { allDown, closed, inUse, newMember, repairPause, waitingText, type Member } from './pool-member.ts';
import type { ServiceGroup } from './service-group.ts';

export interface PoolOptions {
  readonly clock: Clock;
  readonly events: EventSink;
  /** Connections being opened at the same time; behind a jump host there may be a limit of ten. */
  readonly fanOut: number;
  /** How long to wait for the first group to come back when all are down. */
  readonly recoveryTimeout: Ms;
  readonly onCircuit: (
    group: GroupId,
    state: Circuit['state'],
    cause: ModelEvalStateError | undefined,
  ) => void;
}

/** A group for one trial. `report` once, then dispose. */
export interface GroupLease extends Disposable {
  readonly group: ServiceGroup;
}

/** Hands free, healthy groups to trials, and takes broken ones out until they are repaired. */
export class ServiceGroupPool implements AsyncDisposable {
  #members: readonly Member[];
  readonly #options: PoolOptions;
  readonly #changed = new Condition();
  readonly #stop = childController();
  readonly #repairs = new Set<Promise<void>>();
  #turn = 0;
  #toldAllDown = false;

  constructor(groups: readonly ServiceGroup[], options: PoolOptions) {
    this.#options = options;
    this.#members = groups.map((group) => newMember(group, this.#options.clock));
  }

  get size(): number {
    return this.#members.length;
  }

  /** Groups that a trial can be on now. */
  get usable(): number {
    return this.#inUse((member) => member.down === undefined).length;
  }

  get groups(): readonly ServiceGroup[] {
    return this.#members.map(({ group }) => group);
  }

  /** Groups that wait for a trial. */
  idle(): ServiceGroup[] {
    return this.#inUse(({ down }) => down === undefined)
      .filter(({ busy }) => !busy)
      .map(({ group }) => group);
  }

  isUsable(groupId: GroupId): boolean {
    return this.#members.some(({ group, down }) => group.id === groupId && down === undefined);
  }

  isLeaving(groupId: GroupId): boolean {
    return this.#members.some(({ group, isLeaving }) => group.id === groupId && isLeaving);
  }

  /** Groups that are not about to leave. */
  get remaining(): number {
    return this.#members.filter(({ isLeaving }) => !isLeaving).length;
  }

  get changed(): Condition {
    return this.#changed;
  }

  /** Circuits as an earlier session of the run left them. */
  restore(circuits: ReadonlyMap<GroupId, Circuit>): void {
    for (const member of this.#members) {
      const circuit = circuits.get(member.group.id);
      if (circuit === undefined) continue;
      member.breaker = new CircuitBreaker(() => this.#options.clock.now(), circuitPolicy, circuit);
      member.shown = member.breaker.state;
    }
  }

  /**
   * Connects all groups side by side. Groups that cannot be reached are left out and tried again later.
   * @throws what stops every run (a refused key, an unknown host key), or the failure of the last group
   */
  async setup(signal: AbortSignal): Promise<void> {
    const limit = pLimit(this.#options.fanOut);
    const { clock, events } = this.#options;
    const outcomes = await settleAll(
      this.#members.map(async (member) =>
        limit(async () => {
          const began = clock.now();
          try {
            await member.group.connect(signal, { retry: true });
            // Who resumes has repaired it, and it answers: a trial tells more than the rest of the cool-down.
            member.breaker.probe();
            this.#show(member, undefined);
            const seconds = toSeconds(ms(clock.now() - began));
            events.emit({
              type: 'group.ready',
              groupId: member.group.id,
              hosts: member.group.hosts,
              seconds,
            });
            return undefined;
          } catch (error) {
            signal.throwIfAborted();
            return { member, error: asOptimizerError(error) };
          }
        }),
      ),
    );
    const failed = outcomes.filter((outcome) => outcome !== undefined);
    const fatal = failed.find(({ error }) => error.blame === 'operator' || error.blame === 'program');
    if (fatal !== undefined) throw fatal.error;
    if (failed.length === this.#members.length && failed[0] !== undefined) throw failed[0].error;
    for (const { member, error } of failed) this.#quarantine(member, error);
  }

  /**
   * The first free group whose circuit admits it, if possible none of `avoid`, and of those the one whose service runs
   * already.
   * @throws when every group is down for longer than the recovery time
   */
  async lease(avoid: ReadonlySet<GroupId>, serverKey: string, signal: AbortSignal): Promise<GroupLease> {
    let allDownSince: Ms | undefined;
    for (;;) {
      signal.throwIfAborted();
      const member = this.#choose(avoid, serverKey);
      if (member !== undefined) return this.#take(member);
      const { clock, recoveryTimeout } = this.#options;
      // Where there is none at all, somebody took them out, and is waited for.
      const isDown = this.usable === 0 && this.#members.length > 0;
      allDownSince = isDown ? (allDownSince ?? clock.now()) : undefined;
      this.#tellWhenAllAreDown();
      if (allDownSince !== undefined && clock.now() - allDownSince > recoveryTimeout)
        throw allDown(this.#members, recoveryTimeout);
      // Circuits change with time alone, so look again once in a while.
      const wake = new AbortController();
      const timer = clock.sleep(ms(500), wake.signal).catch(() => undefined);
      await Promise.race([this.#changed.wait(signal), timer]).finally(() => wake.abort(overtaken));
    }
  }

  /** What a trial says about the group: nothing, that it works, or that its machines failed. */
  report(groupId: GroupId, outcome: 'neutral' | 'works' | ModelEvalStateError): void {
    const member = this.#members.find(({ group }) => group.id === groupId);
    if (member === undefined) return;
    if (outcome === 'works') member.breaker.succeed();
    else if (outcome === 'neutral') member.breaker.leave();
    else {
      member.breaker.fail();
      this.#quarantine(member, outcome);
    }
    this.#show(member, typeof outcome === 'string' ? undefined : outcome);
    this.#changed.notify();
  }

  /** Takes a group out that was found broken while no trial was on it. */
  quarantine(groupId: GroupId, cause: ModelEvalStateError): void {
    const member = this.#members.find(({ group, busy }) => group.id === groupId && !busy);
    if (member === undefined || member.down !== undefined) return;
    member.breaker.fail();
    this.#quarantine(member, cause);
    this.#show(member, cause);
    this.#changed.notify();
  }

  /** Uses a group only where no other one can be. */
  reserve(groupId: GroupId): void {
    const member = this.#members.find(({ group }) => group.id === groupId);
    if (member !== undefined) member.isReserve = true;
    this.#changed.notify();
  }

  /** Takes a group out for good, after the trial that it has. */
  leave(groupId: GroupId): void {
    const member = this.#members.find(({ group }) => group.id === groupId);
    if (member === undefined || member.isLeaving) return;
    member.isLeaving = true;
    if (!member.busy) this.#close(member);
    this.#changed.notify();
  }

  /** Takes a group in once it can be reached, which is tried for as long as the pool is open. */
  join(group: ServiceGroup): void {
    const member = newMember(group, this.#options.clock);
    this.#members = [...this.#members, member];
    this.#quarantine(member, new CommunicationError(`Group ${group.id} is being connected`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new CommunicationError('The pool is closed'));
    await Promise.all(this.#repairs);
    await Promise.all(this.#members.map(async ({ group }) => group[Symbol.asyncDispose]()));
  }

  #choose(avoid: ReadonlySet<GroupId>, serverKey: string): Member | undefined {
    // A connection that broke while nobody used it is known at once: no particle finds out.
    for (const { group, busy, down } of this.#members) {
      const { lost } = group;
      if (!busy && down === undefined && lost !== undefined) this.quarantine(group.id, lost);
    }
    const open = this.#inUse(({ down, breaker }) => down === undefined && breaker.admits());
    const others = open.filter(({ group }) => !avoid.has(group.id));
    // A group that failed this trial gets it again only when there is no other one to wait for.
    const candidates = others.length > 0 ? others : open;
    const free = candidates.filter(({ busy }) => !busy).sort((a, b) => a.freeSince - b.freeSince);
    return free.find(({ group }) => group.runs(serverKey)) ?? free[0];
  }

  #take(member: Member): GroupLease {
    member.busy = true;
    member.breaker.enter();
    this.#show(member, undefined);
    return {
      group: member.group,
      [Symbol.dispose]: () => {
        member.busy = false;
        member.freeSince = ++this.#turn;
        if (member.isLeaving) this.#close(member);
        this.#changed.notify();
      },
    };
  }

  #inUse(can: (member: Member) => boolean): Member[] {
    return inUse(this.#members, can);
  }

  #close(member: Member): void {
    this.#members = this.#members.filter((one) => one !== member);
    const closing = member.group[Symbol.asyncDispose]().finally(() => this.#repairs.delete(closing));
    this.#repairs.add(closing);
  }

  #quarantine(member: Member, cause: ModelEvalStateError): void {
    if (member.down !== undefined) return;
    member.down = cause;
    const circuit = member.breaker.state;
    this.#options.events.emit({
      type: 'group.down',
      groupId: member.group.id,
      reason: cause.message,
      circuit,
    });
    const repair = this.#repair(member).finally(() => this.#repairs.delete(repair));
    this.#repairs.add(repair);
  }

  /** Reconnects, ends leftovers, looks around; every vain try counts against the circuit. */
  async #repair(member: Member): Promise<void> {
    const { clock, events } = this.#options;
    const { signal } = this.#stop;
    for (let attempt = 0; ; attempt++) {
      try {
        signal.throwIfAborted();
        if (member.isLeaving) return;
        if (attempt > 0) await clock.sleep(repairPause(member, attempt), signal);
        await member.group.connect(signal, { retry: false });
        if (await closed(member)) return;
        member.down = undefined;
        events.emit({ type: 'group.recovered', groupId: member.group.id });
        this.#changed.notify();
        return;
      } catch (error) {
        if (signal.aborted) return;
        member.down = asOptimizerError(error);
        member.breaker.fail();
        this.#show(member, member.down);
        this.#changed.notify();
      }
    }
  }

  #show(member: Member, cause: ModelEvalStateError | undefined): void {
    const { state } = member.breaker;
    if (state === member.shown) return;
    member.shown = state;
    this.#options.onCircuit(member.group.id, state, cause);
    if (state === 'open' && member.down !== undefined) {
      const reason = member.down.message;
      this.#options.events.emit({ type: 'group.down', groupId: member.group.id, reason, circuit: state });
    }
  }

  #tellWhenAllAreDown(): void {
    const isDown = this.usable === 0;
    if (isDown && !this.#toldAllDown) {
      const text = waitingText(this.#members, this.#options.recoveryTimeout);
      this.#options.events.emit({ type: 'note', text });
    }
    this.#toldAllDown = isDown;
  }
}
