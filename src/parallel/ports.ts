import type { TrialId } from '../base/units.ts';
import type { JournalEntry } from './records.ts';

/** What this floor needs from the outside; remote/, engines/, benchmarks/ and runs/ implement it. */

export type * from './machine-port.ts';
export type * from './engine-port.ts';
export type * from './benchmark-port.ts';

export interface HttpProbe {
  /** undefined where nothing answers, or with another status than 200. */
  text(url: string, signal: AbortSignal): Promise<string | undefined>;
  /** The status, or undefined where nothing answers. */
  status(url: string, signal: AbortSignal): Promise<number | undefined>;
  /** Whether something accepts connections. */
  listens(host: string, port: number, signal: AbortSignal): Promise<boolean>;
}

/** Keeps what must survive: durable when `append` resolves. */
export interface RunStore extends AsyncDisposable {
  readonly runId: string;
  /** Where the run keeps its files on the controller. */
  readonly directory: string;
  append(entry: JournalEntry): Promise<void>;
  /** Writes a file of one trial, such as its plan or raw benchmark output. */
  keep(trialId: TrialId, name: string, content: () => string): Promise<void>;
}
