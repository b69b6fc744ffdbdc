import type { Seen } from './ledger.ts';
import type { MadeLoad } from './make-load.ts';

/** What an agent writes into the directory that it runs in. */

export const answerFile = 'load.json';
export const seenFile = 'seen.json';

export type AgentAnswer =
  | { readonly type: 'made'; readonly load: MadeLoad }
  | {
      readonly type: 'unusable';
      readonly message: string;
      readonly status?: number | undefined;
      readonly code?: string | undefined;
    };

export interface AgentSeen {
  readonly seen: readonly Seen[];
  readonly elapsedS: number;
}
