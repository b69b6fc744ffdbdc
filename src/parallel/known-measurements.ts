import type { GroupId } from '../base/units.ts';
import type { ServingParams } from '../core/space/field.ts';
import { paramsKey } from '../core/space/space.ts';
import { measurementKey, type FoundLoads } from './measurement-key.ts';
import { effectiveParams } from './read-back.ts';
import type { TrialRecord } from './records.ts';

/** What has been measured and where, so that nothing is measured twice without reason. */
export class KnownMeasurements {
  readonly #found: FoundLoads | undefined;
  readonly #measured = new Map<string, Promise<TrialRecord>>();
  readonly #groups = new Map<string, Set<GroupId>>();

  constructor(found: FoundLoads | undefined) {
    this.#found = found;
  }

  key(of: Parameters<typeof measurementKey>[0]): string {
    return measurementKey(of, this.#found);
  }

  /** Also what is being measured. */
  get(key: string): Promise<TrialRecord> | undefined {
    return this.#measured.get(key);
  }

  set(key: string, work: Promise<TrialRecord>): void {
    this.#measured.set(key, work);
  }

  /** A measurement of an earlier session counts for equal configurations of this one. */
  remember(record: TrialRecord): void {
    if (record.group_id !== null) this.noteGroup(record.params, record.group_id);
    const own = record.reused_from === null && record.confirms === null;
    if (!own || record.verdict.kind === 'failed') return;
    this.set(this.key(record), Promise.resolve(record));
    this.rememberEffective(record);
  }

  /** Where the service adjusted what it was asked for, asking for that is the same configuration. */
  rememberEffective(record: TrialRecord): void {
    if (record.verdict.kind !== 'scored') return;
    const params = effectiveParams(record.params, record.verdict.effects);
    const key = this.key({ ...record, params });
    if (!this.#measured.has(key)) this.set(key, Promise.resolve(record));
  }

  groupsOf(params: ServingParams): Set<GroupId> {
    return this.#groups.get(paramsKey(params)) ?? new Set();
  }

  noteGroup(params: ServingParams, group: GroupId): void {
    this.#groups.set(paramsKey(params), this.groupsOf(params).add(group));
  }
}
