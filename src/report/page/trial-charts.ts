import type { ReportModel } from '../model.ts';
import type { Mark, ReportTrial } from '../trial-rows.ts';
import { paretoFront } from '../pareto-front.ts';
import type { EChartsOption } from './echarts.ts';
import { axis, clock, frame, limit, number, type Looks } from './looks.ts';

/** Charts with a point a trial. */

type Latency = 'ttft_ms' | 'tpot_ms';
type Point = [x: number, y: number, trial: number];

const outcomes = [
  ['feasible', 'within the SLOs'],
  ['outside', 'outside the SLOs'],
] as const;

/** Measured by this run itself. */
export const own = ({ trials }: ReportModel): readonly ReportTrial[] =>
  trials.filter(({ origin }) => origin !== 'reused');

export function describe(
  { id, group, speed, ttft_ms, tpot_ms, params, note }: ReportTrial,
  model: ReportModel,
): string {
  const values = model.fields.map(({ name }, i) => `${name} ${String(params[i] ?? '–')}`);
  return [
    `trial ${id}${group === null ? '' : ` on group ${group}`}`,
    `${number(speed)} tok/s, TTFT ${number(ttft_ms)} ms, TPOT ${number(tpot_ms)} ms`,
    ...values,
    ...(note === '' ? [] : [note.slice(0, 90)]),
  ].join('\n');
}

/** What a point of any of these charts says. */
function tooltipOf(model: ReportModel): (params: unknown) => string {
  const byId = new Map(model.trials.map((trial) => [trial.id, trial]));
  return (params) => {
    const { value } = params as { value: Point };
    const trial = byId.get(value[2]);
    return trial === undefined ? '' : describe(trial, model);
  };
}

const colours = ({ good, outside }: Looks): Record<'feasible' | 'outside', string> => ({
  feasible: good,
  outside,
});

const asMark = ({ id, ...trial }: ReportTrial): Mark => ({ ...trial, trial: id, isItsTrial: true });

/** Baseline and answer stand out everywhere. */
function marked(model: ReportModel, looks: Looks, at: (mark: Mark) => Point | undefined): object[] {
  const one = (mark: Mark | null, name: string, color: string, symbol: string): object[] => {
    const point = mark === null ? undefined : at(mark);
    return point === undefined
      ? []
      : [{ name, type: 'scatter', data: [point], symbol, symbolSize: 16, itemStyle: { color }, z: 5 }];
  };
  return [
    ...one(model.present, 'present configuration', looks.base, 'diamond'),
    ...one(model.recommended, 'recommended', looks.best, 'pin'),
  ];
}

export function latencyChart(model: ReportModel, looks: Looks, latency: Latency): EChartsOption {
  const at = (one: Mark): Point | undefined => {
    const [x, y] = [one[latency], one.speed];
    return x === null || y === null ? undefined : [x, y, one.trial];
  };
  const points = own(model).filter((trial) => at(asMark(trial)) !== undefined);
  const front = paretoFront(
    points.map((trial) => at(asMark(trial)) as Point),
    ([x, y]) => [x, -y],
  );
  return {
    ...frame(looks),
    tooltip: { ...(frame(looks).tooltip as object), formatter: tooltipOf(model) },
    dataZoom: [{ type: 'inside' }],
    xAxis: axis(model.names[latency], looks, { min: 0 }),
    yAxis: axis('output tokens/s', looks, { nameGap: 46 }),
    series: [
      ...outcomes.map(([outcome, label], index) => ({
        name: label,
        type: 'scatter',
        symbolSize: 7,
        itemStyle: { color: colours(looks)[outcome], opacity: 0.75 },
        data: points.filter((trial) => trial.outcome === outcome).map((trial) => at(asMark(trial))),
        ...(index === 0 ? limit(model.slos[latency], looks) : {}),
      })),
      {
        name: 'Pareto front',
        type: 'line',
        step: 'end',
        symbol: 'none',
        data: front,
        lineStyle: { color: looks.ink, width: 1 },
        itemStyle: { color: looks.ink },
      },
      ...marked(model, looks, at),
    ],
  };
}

/** Tokens/s of one accelerator against those of one user. */
export function pairChart(model: ReportModel, looks: Looks): EChartsOption {
  const devices = new Map(model.groups.map(({ id, devices: count }) => [id, count ?? 1]));
  const at = ({ tpot_ms, speed, group, trial }: Mark): Point | undefined =>
    tpot_ms === null || tpot_ms === 0 || speed === null || group === null
      ? undefined
      : [1000 / tpot_ms, speed / (devices.get(group) ?? 1), trial];
  return {
    ...frame(looks),
    tooltip: { ...(frame(looks).tooltip as object), formatter: tooltipOf(model) },
    dataZoom: [{ type: 'inside' }],
    xAxis: axis(`tokens/s of one user (1 / ${model.names.tpot_ms.replace(', ms', '')})`, looks),
    yAxis: axis('tokens/s of one accelerator', looks, { nameGap: 46 }),
    series: [
      ...outcomes.map(([outcome, label]) => ({
        name: label,
        type: 'scatter',
        symbolSize: 7,
        itemStyle: { color: colours(looks)[outcome], opacity: 0.75 },
        data: own(model)
          .filter((trial) => trial.outcome === outcome)
          .flatMap((trial) => {
            const point = at(asMark(trial));
            return point === undefined ? [] : [point];
          }),
      })),
      ...marked(model, looks, at),
    ],
  };
}

export function convergence(model: ReportModel, looks: Looks, overTime: boolean): EChartsOption {
  const all = own(model);
  const x = (trial: ReportTrial, index: number): number => (overTime ? trial.at_s : index + 1);
  const top = Math.max(...all.map(({ speed }) => speed ?? 0));
  const baseline = model.present?.speed ?? null;
  let best = 0;
  const steps = all.flatMap((trial, index) => {
    if (trial.outcome !== 'feasible' || (trial.speed ?? 0) <= best) return [];
    best = trial.speed ?? best;
    return [[x(trial, index), best, trial.id]];
  });
  const last = all.at(-1);
  const end =
    last === undefined || best === 0 ? [] : [[x(last, all.length - 1), best, steps.at(-1)?.[2] ?? 0]];
  const points = (outcome: ReportTrial['outcome']): Point[] =>
    all.flatMap((trial, index) =>
      trial.outcome === outcome ? [[x(trial, index), trial.speed ?? top * 0.02, trial.id] as Point] : [],
    );
  return {
    ...frame(looks),
    tooltip: { ...(frame(looks).tooltip as object), formatter: tooltipOf(model) },
    dataZoom: [{ type: 'inside' }],
    xAxis: axis(overTime ? 'time since the start' : 'evaluations', looks, {
      min: 0,
      ...(overTime ? { axisLabel: { color: looks.ink, formatter: clock, hideOverlap: true } } : {}),
    }),
    yAxis: axis('output tokens/s', looks, { nameGap: 46, min: 0 }),
    series: [
      ...outcomes.map(([outcome, label]) => ({
        name: label,
        type: 'scatter',
        symbolSize: 6,
        itemStyle: { color: colours(looks)[outcome], opacity: 0.6 },
        data: points(outcome),
      })),
      {
        name: 'ended early',
        type: 'scatter',
        symbol: 'emptyTriangle',
        symbolSize: 7,
        itemStyle: { color: looks.faint },
        data: points('stopped'),
      },
      {
        name: 'could not be served',
        type: 'scatter',
        symbol: 'path://M0,1L1,0L5,4L9,0L10,1L6,5L10,9L9,10L5,6L1,10L0,9L4,5Z',
        symbolSize: 8,
        itemStyle: { color: looks.bad },
        data: [...points('infeasible'), ...points('failed')],
      },
      {
        name: 'best so far within the SLOs',
        type: 'line',
        step: 'end',
        symbol: 'none',
        lineStyle: { color: looks.best, width: 2 },
        itemStyle: { color: looks.best },
        data: [...steps, ...end],
        ...(baseline === null
          ? {}
          : {
              markLine: {
                silent: true,
                symbol: 'none',
                lineStyle: { color: looks.base, type: 'dotted' },
                label: { formatter: 'present', position: 'insideEndTop', color: looks.ink },
                data: [{ yAxis: baseline }],
              },
            }),
      },
    ],
  } as EChartsOption;
}

export function response(model: ReportModel, looks: Looks, index: number): EChartsOption {
  const field = model.fields[index];
  const isCategory = field?.kind === 'category';
  const data = own(model).flatMap(({ cost, params, id, outcome }) => {
    const value = params[index];
    return cost === null || value === null || value === undefined
      ? []
      : [{ value: [isCategory ? String(value) : value, cost, id], outcome }];
  });
  return {
    ...frame(looks),
    tooltip: { ...(frame(looks).tooltip as object), formatter: tooltipOf(model) },
    xAxis: axis(field?.name ?? '', looks, {
      type: isCategory ? 'category' : field?.log === true ? 'log' : 'value',
    }),
    yAxis: axis('cost', looks, { nameGap: 46 }),
    series: outcomes.map(([outcome, label]) => ({
      name: label,
      type: 'scatter',
      symbolSize: 7,
      itemStyle: { color: colours(looks)[outcome], opacity: 0.7 },
      data: data.filter((one) => one.outcome === outcome).map(({ value }) => value),
    })),
  } as EChartsOption;
}
