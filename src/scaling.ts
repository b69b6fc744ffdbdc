import { appendFileSync, existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { childController } from './base/cancellation.ts';
import { systemClock } from './base/clock.ts';
import type { EventSink } from './base/events.ts';
import { groupId, ms, type GroupId } from './base/units.ts';
import { readHostfile } from './config/host-lists.ts';
import type { HostEntry } from './config/host-syntax.ts';
import type { HostfilePlace } from './config/settings.ts';
import type { ServiceGroupConfig } from './config/parallel-config.ts';
import type { RunStore } from './parallel/ports.ts';
import type { GroupRecord } from './parallel/records.ts';
import type { ServiceGroup } from './parallel/service-group.ts';
import type { ServiceGroupPool } from './parallel/service-group-pool.ts';

/** Groups join and leave while a study runs: by the hostfile that it was started with, or by `optimizer scale`. */

/** A line of `scale.jsonl` in the run's directory. */
export interface ScaleRequest {
  readonly id: string;
  /** The hosts of each group that joins, master first. */
  readonly add: readonly (readonly HostEntry[])[];
  /** Groups with one of these hosts leave. */
  readonly remove: readonly string[];
  readonly drain: readonly number[];
}

/** A line of `scale-answers.jsonl`. */
export interface ScaleAnswer {
  readonly id: string;
  readonly says: readonly string[];
}

export const scaleFiles = (directory: string): { requests: string; answers: string } => ({
  requests: join(directory, 'scale.jsonl'),
  answers: join(directory, 'scale-answers.jsonl'),
});

interface Parts {
  readonly pool: ServiceGroupPool;
  readonly store: RunStore;
  readonly events: EventSink;
  readonly create: (config: ServiceGroupConfig) => ServiceGroup;
  /** @throws ConfigurationError */
  readonly configOf: (id: GroupId, hosts: readonly HostEntry[]) => ServiceGroupConfig;
  /** @throws ConfigurationError where it cannot be beside the others */
  readonly check: (groups: readonly ServiceGroup[]) => void;
  /** All that there were; those that join are added. */
  readonly groups: ServiceGroup[];
  readonly directory: string;
  readonly hostfile: HostfilePlace | undefined;
  readonly limits: { readonly max: number; readonly min: number };
}

const every = ms(1000);
const lengthOf = (file: string): number => (existsSync(file) ? statSync(file).size : 0);
const changeOf = (file: string): number => (existsSync(file) ? statSync(file).mtimeMs : 0);

export const recordOf = ({ id, hosts, devices, hardware }: ServiceGroup): GroupRecord => ({
  ...{ group_id: id, hosts, devices },
  ...(hardware === undefined ? {} : { hardware }),
});

export class Scaling implements AsyncDisposable {
  readonly #parts: Parts;
  readonly #stop = childController();
  readonly #files: { requests: string; answers: string };
  #read: number;
  #seen: number;
  /** The hosts of the hostfile, once it has changed. */
  #wanted: readonly HostEntry[] | undefined;
  /** What following it has said. */
  #told = new Set<string>();
  #rounds: Promise<void> | undefined;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#files = scaleFiles(parts.directory);
    this.#read = lengthOf(this.#files.requests);
    this.#seen = parts.hostfile === undefined ? 0 : changeOf(parts.hostfile.path);
  }

  start(): void {
    this.#rounds ??= this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the study has ended'));
    await this.#rounds;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#look();
      } catch (error) {
        this.#say([`scaling: ${(error as Error).message}`], this.#told);
      }
      await systemClock.sleep(every, signal).catch(() => undefined);
    }
  }

  async #look(): Promise<void> {
    for (const request of this.#requests()) {
      const says = await this.#serve(request);
      appendFileSync(this.#files.answers, `${JSON.stringify({ id: request.id, says })}\n`, { mode: 0o600 });
    }
    const { hostfile } = this.#parts;
    if (hostfile === undefined) return;
    const changed = changeOf(hostfile.path);
    if (changed !== this.#seen && changed !== 0) {
      this.#seen = changed;
      this.#told = new Set();
      const { groups } = readHostfile(hostfile.path, 1, hostfile);
      this.#wanted = groups.flatMap(({ hosts }) => hosts);
    }
    if (this.#wanted !== undefined) await this.#follow(this.#wanted, hostfile.nodesPerGroup);
  }

  #requests(): ScaleRequest[] {
    const size = lengthOf(this.#files.requests);
    if (size <= this.#read) return [];
    const lines = readFileSync(this.#files.requests).subarray(this.#read).toString('utf8');
    const whole = lines.slice(0, lines.lastIndexOf('\n') + 1);
    this.#read += Buffer.byteLength(whole);
    return whole
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as ScaleRequest);
  }

  async #serve({ add, remove, drain }: ScaleRequest): Promise<string[]> {
    const { pool } = this.#parts;
    const leaving = pool.groups
      .filter(({ id, hosts }) => drain.includes(id) || hosts.some((host) => remove.includes(host)))
      .map(({ id }) => id);
    const unknown = [
      ...drain
        .filter((id) => !pool.groups.some((group) => group.id === groupId(id)))
        .map((id) => `group ${id}`),
      ...remove.filter((host) => !pool.groups.some(({ hosts }) => hosts.includes(host))),
    ];
    return [...unknown.map((what) => `${what} is not in this run`), ...(await this.#change(add, leaving))];
  }

  /** Brings the groups to the hosts of the file: those without one of their hosts leave, free hosts join. */
  async #follow(wanted: readonly HostEntry[], nodesPerGroup: number): Promise<void> {
    const { pool } = this.#parts;
    const names = new Set(wanted.map(({ host }) => host));
    const leaving = pool.groups
      .filter(({ hosts }) => hosts.some((host) => !names.has(host)))
      .map(({ id }) => id);
    // Hosts of a group that leaves are free when it has left.
    const taken = new Set(pool.groups.flatMap(({ hosts }) => hosts));
    const free = wanted.filter(({ host }) => !taken.has(host));
    const joining = Array.from({ length: Math.floor(free.length / nodesPerGroup) }, (_, index) =>
      free.slice(index * nodesPerGroup, (index + 1) * nodesPerGroup),
    );
    const { max } = this.#parts.limits;
    await this.#change(joining.slice(0, Math.max(0, max - pool.size)), leaving, this.#told);
  }

  /** @returns what has become of it, which everybody is told */
  async #change(
    add: readonly (readonly HostEntry[])[],
    leaving: readonly GroupId[],
    told?: Set<string>,
  ): Promise<string[]> {
    const { pool, limits } = this.#parts;
    const says: string[] = [];
    let left = leaving.filter((id) => !pool.isLeaving(id));
    if (left.length > 0 && pool.remaining - left.length + add.length < limits.min) {
      says.push(`min_groups = ${limits.min}: group ${left.join(', ')} cannot leave`);
      left = [];
    }
    const joined: { readonly group: ServiceGroup; readonly hosts: readonly HostEntry[] }[] = [];
    for (const hosts of add) {
      const names = hosts.map(({ host }) => host).join(', ');
      if (pool.remaining - left.length + joined.length >= limits.max) {
        says.push(`max_groups = ${limits.max}: ${names} cannot join`);
        continue;
      }
      try {
        joined.push({ group: this.#made(hosts, joined.length), hosts });
      } catch (error) {
        says.push(`${names} cannot join: ${(error as Error).message}`);
      }
    }
    if (joined.length + left.length === 0) return this.#say(says, told);
    for (const { group } of joined) this.#parts.groups.push(group);
    await this.#append(joined, left);
    for (const id of left) pool.leave(id);
    for (const { group } of joined) pool.join(group);
    return this.#say([
      ...says,
      ...left.map((id) => `group ${id} leaves after the trial that it has`),
      ...joined.map(
        ({ group }) => `group ${group.id} (${group.hosts.join(', ')}) joins when it is connected`,
      ),
    ]);
  }

  #made(hosts: readonly HostEntry[], offset: number): ServiceGroup {
    const { groups, pool, configOf, create, check } = this.#parts;
    const twice = hosts.find(({ host }) => pool.groups.some((group) => group.hosts.includes(host)));
    if (twice !== undefined) throw new Error(`${twice.host} is in use by a group of this run`);
    const id = groupId(Math.max(-1, ...groups.map((group) => group.id)) + 1 + offset);
    const group = create(configOf(id, hosts));
    check([...pool.groups, group]);
    return group;
  }

  async #append(
    joined: readonly { readonly group: ServiceGroup; readonly hosts: readonly HostEntry[] }[],
    left: readonly GroupId[],
  ): Promise<void> {
    const { store, groups } = this.#parts;
    await store.append({
      type: 'scaled',
      at: systemClock.wallTime().toISOString(),
      added: joined.map(({ group, hosts }) => ({ group_id: group.id, hosts })),
      left,
      groups: groups.map(recordOf),
    });
  }

  /** `told`: what is found again and again is said once. */
  #say(lines: string[], told?: Set<string>): string[] {
    for (const text of lines.filter((line) => told?.has(line) !== true)) {
      told?.add(text);
      this.#parts.events.emit({ type: 'note', text });
    }
    return lines;
  }
}
