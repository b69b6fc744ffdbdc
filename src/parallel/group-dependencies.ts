import type { Clock } from '../base/clock.ts';
import type { Ms, TrialId } from '../base/units.ts';
import type { NodeConfig, ServiceGroupConfig } from '../config/parallel-config.ts';
import type { ForwardPolicy } from './reach.ts';
import type { Command, Connector, HttpProbe, LogPattern, NodeLock, NodeProbe, Runtime } from './ports.ts';

export interface GroupDependencies {
  readonly connector: Connector;
  readonly probe: NodeProbe;
  readonly http: HttpProbe;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly runId: string;
  readonly lock: NodeLock;
  /** When the run was begun, or taken up again: ISO 8601. */
  readonly since: string;
  /** What is not heard of for so long is ended by the node itself. */
  readonly lease: Ms;
  readonly logPatterns: readonly LogPattern[];
  readonly engine: string;
  /** Files on nodes need the group in their name because another group could write the same. */
  readonly sharesPaths: boolean;
  /** What the engine looks at on a node once it is connected. */
  readonly inspection?: ((node: NodeConfig, group: ServiceGroupConfig) => Command | undefined) | undefined;
  /** Whether what the controller cannot reach is forwarded over SSH. */
  readonly forward: ForwardPolicy;
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
