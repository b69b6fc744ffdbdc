import type { RunEvent } from '../base/events.ts';
import { toSeconds, type GroupId, type Ms, type TrialId } from '../base/units.ts';
import { plainLine } from './plain.ts';

/** What the live view shows, as a fold over the run's events. */

export type GroupView =
  | { readonly state: 'idle' }
  | {
      readonly state: 'busy';
      readonly trialId: TrialId;
      readonly phase: 'waiting' | 'start' | 'benchmark' | 'stop';
      readonly since: Ms;
      /** Of the benchmark that runs. */
      readonly requests?: Progress;
    }
  | { readonly state: 'down'; readonly reason: string; readonly quarantined: boolean; readonly since: Ms };

/** Requests done of all, and how many came in a second of late. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly at: Ms;
  readonly perSecond: number;
}

interface Standing {
  readonly trialId: TrialId;
  readonly generateSpeed: number;
  readonly ttftSeconds: number | null;
  readonly tpotSeconds: number | null;
  readonly spare: { readonly slo: string; readonly share: number } | null;
}

export interface View {
  readonly runId: string;
  readonly evaluations: number;
  readonly startedAt: Ms;
  readonly told: number;
  readonly measured: number;
  readonly infeasible: number;
  readonly failed: number;
  readonly baseline: Standing | undefined;
  readonly best: Standing | undefined;
  readonly groups: ReadonlyMap<GroupId, GroupView>;
  /** When each running trial began. */
  readonly running: ReadonlyMap<TrialId, Ms>;
  /** Seconds that the finished trials took, together. */
  readonly spentSeconds: number;
  /** Tokens/s of the best, one a trial that was told since there was one. */
  readonly bests: readonly number[];
  readonly paused: boolean;
  /** Of wall clock, since the start; null: no limit. */
  readonly budgetSeconds: number | null;
  /** Newest last. */
  readonly lines: readonly string[];
  readonly stopping: string | undefined;
}

const keptLines = 50;
const keptBests = 200;

export const emptyView: View = {
  runId: '',
  evaluations: 0,
  startedAt: 0 as Ms,
  told: 0,
  measured: 0,
  infeasible: 0,
  failed: 0,
  baseline: undefined,
  best: undefined,
  groups: new Map(),
  running: new Map(),
  spentSeconds: 0,
  bests: [],
  paused: false,
  budgetSeconds: null,
  lines: [],
  stopping: undefined,
};

function withGroup(view: View, id: GroupId, group: GroupView): View {
  return { ...view, groups: new Map(view.groups).set(id, group) };
}

function started(view: View, { trialId, groupId }: { trialId: TrialId; groupId: GroupId }, at: Ms): View {
  const running = new Map(view.running);
  if (!running.has(trialId)) running.set(trialId, at);
  return { ...withGroup(view, groupId, { state: 'busy', trialId, phase: 'waiting', since: at }), running };
}

function finished(view: View, event: Extract<RunEvent, { type: 'trial.finished' }>, at: Ms): View {
  const running = new Map(view.running);
  const began = running.get(event.trialId) ?? at;
  running.delete(event.trialId);
  const groups = new Map(view.groups);
  for (const [id, group] of groups) {
    if (group.state === 'busy' && group.trialId === event.trialId) groups.set(id, { state: 'idle' });
  }
  const { trialId, generateSpeed, ttftSeconds, tpotSeconds, spare } = event;
  const standing =
    generateSpeed === null ? undefined : { trialId, generateSpeed, ttftSeconds, tpotSeconds, spare };
  const best = event.isBest ? standing : view.best;
  return {
    ...view,
    running,
    groups,
    told: event.told,
    evaluations: event.evaluations,
    measured: view.measured + (event.kind === 'scored' ? 1 : 0),
    infeasible: view.infeasible + (event.kind === 'infeasible' ? 1 : 0),
    failed: view.failed + (event.kind === 'failed' ? 1 : 0),
    baseline: view.baseline ?? (trialId === 0 ? standing : undefined),
    best,
    bests: best === undefined ? view.bests : [...view.bests, best.generateSpeed].slice(-keptBests),
    spentSeconds: view.spentSeconds + toSeconds((at - began) as Ms),
  };
}

function progressed(view: View, event: Extract<RunEvent, { type: 'trial.progress' }>, at: Ms): View {
  const group = view.groups.get(event.groupId);
  if (group?.state !== 'busy' || group.trialId !== event.trialId) return view;
  const { done, total } = event;
  const before = group.requests;
  // Another benchmark on the same service begins again at 0.
  const isNew = before === undefined || done < before.done;
  const seconds = isNew ? 0 : toSeconds((at - before.at) as Ms);
  const rate = seconds > 0 && !isNew ? (done - before.done) / seconds : 0;
  const perSecond = isNew ? 0 : before.perSecond === 0 ? rate : 0.8 * before.perSecond + 0.2 * rate;
  return withGroup(view, event.groupId, { ...group, requests: { done, total, at, perSecond } });
}

type TrialEvent = Extract<RunEvent, { type: `trial.${string}` }>;

function onTrial(view: View, event: TrialEvent, at: Ms): View {
  switch (event.type) {
    case 'trial.started':
      return started(view, event, at);
    case 'trial.phase': {
      const { groupId, trialId, phase } = event;
      return withGroup(view, groupId, { state: 'busy', trialId, phase, since: at });
    }
    case 'trial.progress':
      return progressed(view, event, at);
    case 'trial.retry': {
      const group = view.groups.get(event.groupId);
      return group?.state === 'busy' ? withGroup(view, event.groupId, { state: 'idle' }) : view;
    }
    case 'trial.finished':
      return finished(view, event, at);
  }
}

function changed(view: View, event: Exclude<RunEvent, TrialEvent>, at: Ms): View {
  switch (event.type) {
    case 'run.started':
      return {
        ...view,
        ...{ runId: event.runId, evaluations: event.evaluations, startedAt: at },
        budgetSeconds: event.budgetSeconds,
      };
    case 'run.paused':
      return { ...view, paused: event.paused };
    case 'group.ready':
    case 'group.recovered':
      return withGroup(view, event.groupId, { state: 'idle' });
    case 'group.down': {
      const { reason, circuit } = event;
      return withGroup(view, event.groupId, {
        state: 'down',
        reason,
        quarantined: circuit === 'open',
        since: at,
      });
    }
    case 'run.stopping':
      return { ...view, stopping: event.reason };
    case 'note':
    case 'group.checked':
    case 'run.ended':
      return view;
  }
}

const isTrialEvent = (event: RunEvent): event is TrialEvent => event.type.startsWith('trial.');

/** The view after an event. */
export function reduce(view: View, event: RunEvent, at: Ms): View {
  const line = plainLine(event);
  const next = isTrialEvent(event) ? onTrial(view, event, at) : changed(view, event, at);
  return line === undefined ? next : { ...next, lines: [...next.lines, line].slice(-keptLines) };
}

/** Seconds that are left, by what trials took so far and by the budget; undefined until one has finished. */
export function secondsLeft(
  { told, evaluations, spentSeconds, groups, budgetSeconds, startedAt }: View,
  now: Ms,
): number | undefined {
  if (told === 0) return undefined;
  const usable = [...groups.values()].filter(({ state }) => state !== 'down').length;
  const byTrials = (Math.max(0, evaluations - told) * (spentSeconds / told)) / Math.max(1, usable);
  if (budgetSeconds === null) return byTrials;
  return Math.min(byTrials, Math.max(0, budgetSeconds - toSeconds((now - startedAt) as Ms)));
}
