import type { ReportModel } from './model.ts';

export interface Chart {
  readonly id: string;
  readonly title: string;
  readonly says: string | ((model: ReportModel) => string);
  /** Whether there is anything to show. */
  readonly isThere: (model: ReportModel) => boolean;
}

const isMeasured = ({ trials }: ReportModel): boolean => trials.some(({ speed }) => speed !== null);
const isSearched = (model: ReportModel): boolean => isMeasured(model) && model.fields.length > 0;

const frontText = (limit: number | null): string =>
  `${limit === null ? '' : 'Shaded: within the SLO. '}The line joins what nothing beats in both.`;

const all: readonly Chart[] = [
  {
    id: 'knee',
    title: 'Throughput against latency, over load',
    says: ({ slos, curvesHaveSlos }) =>
      `Every point is one load of one service${curvesHaveSlos && (slos.ttft_ms ?? slos.tpot_ms) !== null ? '; the dashed line is the SLO' : ''}.`,
    isThere: ({ curves }) => curves.length > 0,
  },
  {
    id: 'convergence',
    title: 'Every trial and the best so far',
    says: 'Throughput of every trial in the order of their ends. At the bottom: what was ended early, when it could not win any more (triangles), and what could not be served (crosses).',
    isThere: isMeasured,
  },
  {
    id: 'ttft',
    title: 'Throughput against TTFT',
    says: ({ slos }) => frontText(slos.ttft_ms),
    isThere: isMeasured,
  },
  {
    id: 'tpot',
    title: 'Throughput against TPOT',
    says: ({ slos }) => frontText(slos.tpot_ms),
    isThere: isMeasured,
  },
  {
    id: 'pair',
    title: 'Per accelerator against per user',
    says: 'Output tokens/s of one accelerator, and of one request (1 / TPOT).',
    isThere: (model) => isMeasured(model) && model.groups.every(({ devices }) => devices !== null),
  },
  {
    id: 'parallel',
    title: 'All parameters at once',
    says: 'Drag along an axis to choose trials; the table below shows those.',
    isThere: isSearched,
  },
  {
    id: 'importance',
    title: 'What matters',
    says: 'Share of the variance of log cost that a parameter alone explains (ε², the correlation ratio less chance, in at most eight bins). The swarm does not sample evenly: take it as a hint.',
    isThere: ({ importance }) => importance.length > 0,
  },
  { id: 'response', title: 'Cost over one parameter', says: 'Less is better.', isThere: isSearched },
  {
    id: 'load',
    title: 'Load search of the best service',
    says: 'The chosen load is marked.',
    isThere: ({ curves }) => curves.some(({ of, points }) => of === 'best' && points.length > 1),
  },
  {
    id: 'finalists',
    title: 'Measured again',
    says: 'The first measurement chose; only the later ones count.',
    isThere: (model) => model.finalists.length > 0,
  },
  {
    id: 'timeline',
    title: 'What the groups did',
    says: 'Gaps are idle time.',
    isThere: ({ spans }) => spans.length > 0,
  },
  {
    id: 'failures',
    title: 'Failures by cause',
    says: 'Of trials and of single attempts.',
    isThere: (model) => model.failures.length > 0,
  },
];

/** Those that have something to show, in the order of the page. */
export const charts = (model: ReportModel): readonly (Chart & { readonly says: string })[] =>
  all
    .filter(({ isThere }) => isThere(model))
    .map((chart) => ({ ...chart, says: typeof chart.says === 'string' ? chart.says : chart.says(model) }));
