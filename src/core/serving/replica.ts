import { need } from '../../base/assert.ts';
import { cannotServe, planMemory, stepTimes, type Deployment, type ServingSettings } from './hardware.ts';

/** One request as the engine sees it. */
export interface EngineRequest {
  readonly id: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
}

interface Sequence {
  readonly request: EngineRequest;
  /** Output tokens so far. */
  generated: number;
  /** Tokens whose keys and values are in the cache. */
  cached: number;
  /** Tokens that must be cached before the next one can be generated: the prompt, after a preemption more. */
  toPrefill: number;
  blocks: number;
}

/** One step of continuous batching: how long it takes, and what comes out at its end. */
export interface Step {
  readonly durationMs: number;
  /** Requests that get a token, in the order of the batch. */
  readonly tokens: readonly number[];
  /** Those of them whose first it is. */
  readonly first: readonly number[];
  readonly finished: readonly number[];
}

/**
 * Steps in which nothing happens but one more token for every running sequence: nobody comes, ends, or runs out of
 * blocks. They are most of all steps, and are counted in place of being applied.
 */
interface Glide {
  /** Of these steps that are still to come. */
  left: number;
  /** Taken, and not applied to the sequences yet. */
  taken: number;
  contextTokens: number;
  readonly ids: readonly number[];
}

const nobody: readonly number[] = [];

export interface ReplicaCounters {
  preemptions: number;
  promptTokens: number;
  generationTokens: number;
  steps: number;
}

/**
 * One replica of an engine with continuous batching (Orca, vLLM): running sequences decode first, what is left of the
 * token budget goes to prompts, in chunks where they may be split; when the cache is full, the youngest sequence gives
 * its blocks back and is computed anew later.
 */
export class Replica {
  readonly #stepMs: ReturnType<typeof stepTimes>;
  readonly #settings: ServingSettings;
  /** Of the KV cache. */
  readonly totalBlocks: number;
  #freeBlocks: number;
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  #glide: Glide = { left: 0, taken: 0, contextTokens: 0, ids: nobody };
  readonly counters: ReplicaCounters = { preemptions: 0, promptTokens: 0, generationTokens: 0, steps: 0 };

  /** @throws RangeError for settings that cannot start: see `planMemory` */
  constructor(deployment: Deployment, settings: ServingSettings) {
    const memory = planMemory(deployment, settings);
    if (cannotServe(memory)) throw new RangeError(memory.message);
    this.#stepMs = stepTimes(deployment, settings);
    this.#settings = settings;
    this.totalBlocks = memory.blocks;
    this.#freeBlocks = memory.blocks;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get running(): number {
    return this.#running.length;
  }

  /** Share of the KV cache in use. */
  get cacheUsage(): number {
    this.#land();
    return 1 - this.#freeBlocks / this.totalBlocks;
  }

  add(request: EngineRequest): void {
    const { promptTokens } = request;
    this.#land();
    this.#waiting.push({ request, generated: 0, cached: 0, toPrefill: promptTokens, blocks: 0 });
  }

  /** Takes a request out, wherever it is: its client went away. */
  remove(id: number): void {
    this.#land();
    for (const list of [this.#waiting, this.#running]) {
      const index = list.findIndex(({ request }) => request.id === id);
      if (index === -1) continue;
      this.#release(need(list[index], 'sequence'));
      list.splice(index, 1);
    }
  }

  /** Plans and takes the next step; undefined when there is nothing to do. The caller lets its time pass. */
  step(): Step | undefined {
    if (this.#glide.left > 0) return this.#glideOn(this.#glide);
    this.#land();
    const batch: { readonly sequence: Sequence; readonly tokens: number }[] = [];
    let budget = this.#settings.max_num_batched_tokens;
    for (let i = 0; i < this.#running.length && budget > 0; i++) {
      const sequence = need(this.#running[i], 'sequence');
      const tokens = this.#chunk(sequence, budget);
      if (tokens === 0) continue;
      // A sequence that had to go itself was the last one: nothing younger is left to make room.
      if (!this.#makeRoom(sequence, tokens)) break;
      batch.push({ sequence, tokens });
      budget -= tokens;
    }
    this.#admit(batch, budget);
    if (batch.length === 0) return undefined;
    const load = {
      tokens: batch.reduce((sum, { tokens }) => sum + tokens, 0),
      sequences: batch.length,
      contextTokens: batch.reduce((sum, { sequence }) => sum + sequence.cached, 0),
    };
    const step = this.#complete(batch, this.#stepMs(load));
    this.#takeOff();
    return step;
  }

  #glideOn(glide: Glide): Step {
    const sequences = glide.ids.length;
    const { contextTokens } = glide;
    const load = { tokens: sequences, sequences, contextTokens };
    glide.left--;
    glide.taken++;
    glide.contextTokens += sequences;
    this.counters.steps++;
    this.counters.generationTokens += sequences;
    const durationMs = this.#stepMs(load);
    return { durationMs, tokens: glide.ids, first: nobody, finished: nobody };
  }

  /** Applies the steps that were only counted, and ends the glide. */
  #land(): void {
    const { taken } = this.#glide;
    this.#glide.left = this.#glide.taken = 0;
    if (taken === 0) return;
    for (const sequence of this.#running) {
      this.#grow(sequence, taken);
      sequence.cached += taken;
      sequence.generated += taken;
    }
  }

  /** Finds out for how many steps from here nothing will happen. */
  #takeOff(): void {
    const running = this.#running;
    const budget = this.#settings.max_num_batched_tokens - running.length;
    const [head] = this.#waiting;
    if (running.length === 0 || budget < 0) return;
    if (head !== undefined && running.length < this.#settings.max_num_seqs && this.#fits(head, budget))
      return;
    let left = Infinity;
    let contextTokens = 0;
    for (const { request, generated, cached, toPrefill } of running) {
      if (cached < toPrefill) return;
      left = Math.min(left, request.outputTokens - generated - 1);
      contextTokens += cached;
    }
    while (left > 0 && this.#blocksAfter(left) > this.#freeBlocks) left = Math.floor(left / 2);
    if (left > 0)
      this.#glide = { left, taken: 0, contextTokens, ids: running.map(({ request }) => request.id) };
  }

  /** How many more blocks so many tokens for each running sequence need. */
  #blocksAfter(tokens: number): number {
    return this.#running.reduce(
      (sum, { cached, blocks }) => sum + Math.max(0, this.#blocksFor(cached + tokens) - blocks),
      0,
    );
  }

  /** Whether a sequence that waits could be taken in. A new one never drives out one that runs. */
  #fits(sequence: Sequence, budget: number): boolean {
    return (
      budget > 0 &&
      this.#chunk(sequence, budget) > 0 &&
      this.#blocksFor(sequence.toPrefill + 1) <= this.#freeBlocks
    );
  }

  /** Tokens of a sequence that the next step computes: one when it decodes, a piece of its prompt before. */
  #chunk(sequence: Sequence, budget: number): number {
    const left = sequence.toPrefill - sequence.cached;
    if (left <= 0) return 1;
    if (left > budget && !this.#settings.enable_chunked_prefill) return 0;
    return Math.min(left, budget);
  }

  #admit(batch: { readonly sequence: Sequence; readonly tokens: number }[], given: number): void {
    let budget = given;
    while (budget > 0 && this.#running.length < this.#settings.max_num_seqs) {
      const sequence = this.#waiting[0];
      if (sequence === undefined) return;
      if (!this.#fits(sequence, budget)) return;
      const tokens = this.#chunk(sequence, budget);
      this.#waiting.shift();
      this.#running.push(sequence);
      this.#grow(sequence, tokens);
      batch.push({ sequence, tokens });
      budget -= tokens;
    }
  }

  #blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.#settings.block_size);
  }

  #grow(sequence: Sequence, tokens: number): void {
    const more = this.#blocksFor(sequence.cached + tokens) - sequence.blocks;
    if (more <= 0) return;
    sequence.blocks += more;
    this.#freeBlocks -= more;
  }

  /** Drives the youngest sequences out until there is room. @returns false when it was the sequence itself */
  #makeRoom(sequence: Sequence, tokens: number): boolean {
    const more = this.#blocksFor(sequence.cached + tokens) - sequence.blocks;
    while (more > this.#freeBlocks) {
      const youngest = need(this.#running.pop(), 'sequence');
      this.#release(youngest);
      youngest.toPrefill = youngest.request.promptTokens + youngest.generated;
      youngest.cached = 0;
      this.#waiting.unshift(youngest);
      this.counters.preemptions++;
      if (youngest === sequence) return false;
    }
    this.#grow(sequence, tokens);
    return true;
  }

  #release(sequence: Sequence): void {
    this.#freeBlocks += sequence.blocks;
    sequence.blocks = 0;
  }

  #complete(batch: readonly { sequence: Sequence; tokens: number }[], durationMs: number): Step {
    const tokens: number[] = [];
    const first: number[] = [];
    const finished: number[] = [];
    for (const { sequence, tokens: computed } of batch) {
      const prefilling = sequence.cached < sequence.toPrefill;
      sequence.cached += computed;
      if (prefilling) this.counters.promptTokens += computed;
      if (sequence.cached < sequence.toPrefill) continue;
      sequence.generated++;
      this.counters.generationTokens++;
      tokens.push(sequence.request.id);
      if (sequence.generated === 1) first.push(sequence.request.id);
      if (sequence.generated < sequence.request.outputTokens) continue;
      finished.push(sequence.request.id);
      this.#release(sequence);
      this.#running.splice(this.#running.indexOf(sequence), 1);
    }
    this.counters.steps++;
    return { durationMs, tokens, first, finished };
  }
}
