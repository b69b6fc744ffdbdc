import { need } from '../base/assert.ts';
import { settleAll } from '../base/cancellation.ts';
import type { NodeConfig } from '../config/parallel-config.ts';
import type { GroupDependencies } from './group-dependencies.ts';
import type { Executor, LaunchPlan } from './ports.ts';
import type { Node } from './topology.ts';

export async function closeAll(executors: readonly Executor[]): Promise<void> {
  await Promise.all(executors.map(async (executor) => executor[Symbol.asyncDispose]()));
}

/** Brings the files of a plan to their nodes. */
export async function writeFiles(
  plan: LaunchPlan,
  nodes: readonly { readonly executor: Executor }[],
  signal: AbortSignal,
): Promise<void> {
  await settleAll(
    plan.files.map(async ({ rank, path, content, mode }) =>
      need(nodes[rank], 'node').executor.writeFile(path, content, signal, mode),
    ),
  );
}

/** Connects what is not connected any more. @throws with no connection left open */
export async function connectNodes(
  wanted: readonly NodeConfig[],
  kept: readonly Node[],
  { connector }: Pick<GroupDependencies, 'connector'>,
  { signal, retry }: { readonly signal: AbortSignal; readonly retry: boolean },
): Promise<Executor[]> {
  const usable = kept.filter(({ executor }) => !executor.lost.aborted);
  const outcomes = await Promise.allSettled(
    wanted.map(async (node) => {
      const open = usable.find(({ executor }) => executor.host === node.host);
      return open?.executor ?? (await connector.connect(node, signal, { retry }));
    }),
  );
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  const open = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  if (failed === undefined) return open;
  await closeAll(open);
  throw failed.reason;
}
