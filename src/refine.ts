import type { EventSink } from './base/events.ts';
import { trialId } from './base/units.ts';
import type { Settings } from './config/settings.ts';
import { searchedSpace } from './config/space-settings.ts';
import type { Field } from './core/space/field.ts';
import { createSearchSpace } from './core/space/space.ts';
import type { Engine } from './parallel/ports.ts';
import type { JournalEntry } from './parallel/records.ts';
import type { ServiceGroup } from './parallel/service-group.ts';

/** The fields that an earlier session of the run searched. */
function journaled(entries: readonly JournalEntry[]): readonly Field[] | undefined {
  const started = entries.find((entry) => entry.type === 'run-started');
  return started?.fields;
}

/** The fields as the user has them. */
export const ownFields = ({ twoStage, nestedLoad, space }: Settings): readonly Field[] =>
  (twoStage ?? nestedLoad ?? space).fields;

/** What the engine's own files on the nodes say about the fields: known once they are connected, and kept. */
export function refined(
  settings: Settings,
  engine: Engine,
  groups: readonly ServiceGroup[],
  entries: readonly JournalEntry[],
  events: EventSink,
): Settings {
  const { engineConfig, theory, workload, rules } = settings;
  const group = groups.find((one) => one.connected);
  if (engine.refine === undefined || group === undefined) return settings;
  const before = journaled(entries);
  const { twoStage, nestedLoad } = settings;
  const rule = twoStage !== undefined ? 'two_stage' : nestedLoad !== undefined ? 'slo' : 'fixed';
  const withFields = (fields: readonly Field[]): Settings => ({
    ...settings,
    space: searchedSpace(createSearchSpace(fields, rules), rules, rule),
    twoStage: twoStage && { ...twoStage, fields },
    nestedLoad: nestedLoad && { ...nestedLoad, fields },
  });
  if (before !== undefined) return withFields(before);
  const topology = group.topology(trialId(0));
  const { fields, notes } = engine.refine(engineConfig, ownFields(settings), topology, { theory, workload });
  for (const text of notes) events.emit({ type: 'note', text });
  return withFields(fields);
}
