import type { Clock } from '../base/clock.ts';
import type { TrialId } from '../base/units.ts';
import type { NodeConfig, ServiceGroupConfig } from '../config/parallel-config.ts';
import type { Command, Connector, HttpProbe, LogPattern, NodeProbe, Runtime } from './ports.ts';

export interface GroupDependencies {
  readonly connector: Connector;
  readonly probe: NodeProbe;
  readonly http: HttpProbe;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly runId: string;
  readonly logPatterns: readonly LogPattern[];
  readonly engine: string;
  /** Files on nodes need the group in their name because another group could write the same. */
  readonly sharesPaths: boolean;
  /** What the engine looks at on a node once it is connected. */
  readonly inspection?: ((node: NodeConfig, group: ServiceGroupConfig) => Command | undefined) | undefined;
  readonly note: (text: string) => void;
}

/** What a start needs to know of the trial that it is for. */
export interface StartContext {
  readonly signal: AbortSignal;
  readonly trialId: TrialId;
  readonly isCurrent: boolean;
  /** A service of this run has been healthy somewhere. */
  readonly runProven: boolean;
}
