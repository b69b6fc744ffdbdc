import { Condition } from '../base/condition.ts';
import type { GroupId } from '../base/units.ts';
import type { PerformanceIndex } from '../core/fitness/fitness.ts';
import type { BenchmarkResult } from './benchmark-port.ts';
import type { JournalEntry } from './records.ts';

/**
 * What becomes of groups that serve the present configuration faster or slower than the others: their numbers are
 * scaled, they are used when no other one can, or not at all. `trust`: nothing is measured for it.
 */
export type GroupPolicy = 'trust' | 'normalize' | 'strict' | 'exclude';

interface Member {
  readonly id: GroupId;
  readonly hosts: readonly string[];
}

interface Known {
  readonly hosts: string;
  /** Of the present configuration; null: it could not be measured there. */
  readonly performance: PerformanceIndex | null;
}

/** Tokens a second, where the load tool counts them; else requests a second. */
const speedOf = (performance: PerformanceIndex | null): number | undefined =>
  performance?.generate_speed ?? performance?.throughput ?? undefined;

const hostsOf = ({ hosts }: Pick<Member, 'hosts'>): string => hosts.join(' ');

/** What each group makes of the present configuration, and what follows for its measurements. */
export class GroupSpeeds {
  readonly policy: GroupPolicy;
  readonly #tolerance: number;
  readonly #known = new Map<GroupId, Known>();
  readonly #underway = new Set<GroupId>();
  readonly #changed = new Condition();
  #reference: GroupId | undefined;

  /** @param entries of earlier sessions of the run */
  constructor(
    options: { readonly policy: GroupPolicy; readonly tolerance: number },
    entries: readonly JournalEntry[] = [],
  ) {
    this.policy = options.policy;
    this.#tolerance = options.tolerance;
    for (const entry of entries) {
      if (entry.type === 'groups-compared') this.#reference = entry.reference;
      if (entry.type !== 'group-measured') continue;
      const { group_id: id, hosts, performance } = entry;
      this.#known.set(id, { hosts: hostsOf({ hosts }), performance });
    }
  }

  /** Others in its place are other machines. */
  isKnown(group: Member): boolean {
    return this.policy === 'trust' || this.#known.get(group.id)?.hosts === hostsOf(group);
  }

  begin({ id }: Member): void {
    this.#underway.add(id);
  }

  /** `performance`: null where the present configuration does not run there; undefined: it was not measured after all. */
  ended(group: Member, performance: PerformanceIndex | null | undefined): void {
    this.#underway.delete(group.id);
    if (performance !== undefined) this.#known.set(group.id, { hosts: hostsOf(group), performance });
    this.#changed.notify();
  }

  /** How many are being measured. What a group is compared with is what most of them do. */
  get underway(): number {
    return this.#underway.size;
  }

  get isMostlyKnown(): boolean {
    return this.#known.size > this.#underway.size;
  }

  async change(signal: AbortSignal): Promise<void> {
    await this.#changed.wait(signal);
  }

  /** The group that the others are compared with, kept from its first use on. @returns it where it is new */
  choose(): GroupId | undefined {
    if (this.#reference !== undefined) return undefined;
    const speeds = [...this.#known].flatMap(([id, { performance }]) => {
      const speed = speedOf(performance);
      return speed === undefined ? [] : [{ id, speed }];
    });
    // The one that is like most of the others; of several the fastest.
    const alike = (speed: number): number =>
      speeds.filter((other) => Math.abs(other.speed / speed - 1) <= this.#tolerance).length;
    const [best] = speeds.sort((a, b) => alike(b.speed) - alike(a.speed) || b.speed - a.speed);
    this.#reference = best?.id;
    return this.#reference;
  }

  get reference(): GroupId | undefined {
    return this.#reference;
  }

  /** How fast a group is, as a share of the reference; 1 where one of them is not known. */
  ratio(id: GroupId): number {
    return this.#ratios(id).speed;
  }

  /** Whether it serves the present configuration at all. */
  isComparable(id: GroupId): boolean {
    return speedOf(this.#known.get(id)?.performance ?? null) !== undefined;
  }

  deviates(id: GroupId): boolean {
    if (this.#reference === undefined || this.policy === 'trust') return false;
    return !this.isComparable(id) || Math.abs(this.ratio(id) - 1) > this.#tolerance;
  }

  /** Whether what it measures is scaled to the reference. */
  isScaled(id: GroupId): boolean {
    return this.policy === 'normalize' && this.isComparable(id) && this.deviates(id);
  }

  /** What the reference would have measured, as far as the present configuration tells; and that this was done. */
  scaled(
    id: GroupId,
    result: BenchmarkResult,
  ): BenchmarkResult & { readonly raw_performance?: PerformanceIndex } {
    if (!this.isScaled(id)) {
      const flag = this.isComparable(id)
        ? `group ${id} serves the present configuration at ${this.ratio(id).toFixed(2)} × the speed of group ${this.#reference}, and this is as it was measured`
        : `group ${id} does not serve the present configuration, so that this cannot be compared with other groups`;
      return this.deviates(id) ? { ...result, flags: [...result.flags, flag] } : result;
    }
    const { speed, ttft, tpot, requests } = this.#ratios(id);
    const by = (value: number | null, ratio: number): number | null =>
      value === null ? null : value / ratio;
    const { performance, percentiles, goodput, flags } = result;
    const latency = { ttft_ms: ttft, tpot_ms: tpot, itl_ms: tpot, e2el_ms: tpot };
    return {
      ...result,
      raw_performance: performance,
      performance: {
        generate_speed: by(performance.generate_speed, speed),
        time_to_first_token: by(performance.time_to_first_token, ttft),
        time_per_output_token: by(performance.time_per_output_token, tpot),
        success_rate: performance.success_rate,
        throughput: by(performance.throughput, requests),
      },
      percentiles: Object.fromEntries(
        Object.entries(percentiles).map(([name, statistics]) => [
          name,
          Object.fromEntries(
            Object.entries(statistics as Readonly<Record<string, number>>).map(([statistic, value]) => [
              statistic,
              value / latency[name as keyof typeof latency],
            ]),
          ),
        ]),
      ),
      goodput: by(goodput, requests),
      flags: [
        ...flags,
        `normalised: group ${id} serves the present configuration at ${speed.toFixed(2)} × the speed of group ${this.#reference}`,
      ],
    };
  }

  #ratios(id: GroupId): Record<'speed' | 'ttft' | 'tpot' | 'requests', number> {
    const mine = this.#known.get(id)?.performance;
    const theirs = this.#reference === undefined ? undefined : this.#known.get(this.#reference)?.performance;
    const ratio = (a: number | null | undefined, b: number | null | undefined, usual: number): number =>
      a !== null && b !== null && a !== undefined && b !== undefined && a > 0 && b > 0 ? a / b : usual;
    const speed = ratio(speedOf(mine ?? null), speedOf(theirs ?? null), 1);
    return {
      speed,
      ttft: ratio(mine?.time_to_first_token, theirs?.time_to_first_token, 1 / speed),
      tpot: ratio(mine?.time_per_output_token, theirs?.time_per_output_token, 1 / speed),
      requests: ratio(mine?.throughput, theirs?.throughput, speed),
    };
  }
}
