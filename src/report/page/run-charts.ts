import type { Curve, ReportModel } from '../model.ts';
import type { EChartsOption } from './echarts.ts';
import { axis, frame, limit, number, type Looks } from './looks.ts';

/** Charts of the run as a whole. */

const names = { baseline: 'present configuration', best: 'recommended' } as const;

/** Latency that is nearer to its limit at the chosen load: the one that binds. */
function bindingOf({ curves, slos }: ReportModel): 'ttft_ms' | 'tpot_ms' {
  const chosen = curves.at(-1)?.points.find((point) => point.chosen);
  const share = (latency: 'ttft_ms' | 'tpot_ms'): number =>
    (chosen?.[latency] ?? 0) / (slos[latency] ?? Infinity);
  return share('tpot_ms') >= share('ttft_ms') ? 'tpot_ms' : 'ttft_ms';
}

interface LoadValue {
  readonly value: readonly number[];
  readonly load: string;
}

export function knee(model: ReportModel, looks: Looks): EChartsOption {
  const latency = bindingOf(model);
  const color = ({ of }: Curve): string => (of === 'best' ? looks.best : looks.base);
  return {
    ...frame(looks),
    tooltip: {
      ...(frame(looks).tooltip as object),
      formatter: (params: unknown) => {
        const { data, seriesName } = params as { data: LoadValue; seriesName: string };
        return `${seriesName}\n${data.load}\n${number(data.value[1])} tok/s at ${number(data.value[0])} ms`;
      },
    },
    xAxis: axis(
      model.curvesHaveSlos ? model.names[latency] : `${latency === 'ttft_ms' ? 'TTFT' : 'TPOT'}, ms`,
      looks,
      { min: 0 },
    ),
    yAxis: axis('output tokens/s', looks, { nameGap: 46, min: 0 }),
    series: model.curves.map((curve, index) => ({
      name: names[curve.of],
      type: 'line',
      data: curve.points.flatMap((point) => {
        const x = point[latency];
        return x === null
          ? []
          : [
              {
                value: [x, point.speed],
                load: point.load,
                symbol: point.chosen ? 'pin' : point.feasible ? 'circle' : 'emptyCircle',
                symbolSize: point.chosen ? 18 : 9,
              },
            ];
      }),
      lineStyle: { color: color(curve) },
      itemStyle: { color: color(curve) },
      ...(index === 0 ? limit(model.curvesHaveSlos ? model.slos[latency] : null, looks) : {}),
    })),
  };
}

export function loadSearch(model: ReportModel, looks: Looks): EChartsOption {
  const points = model.curves.find(({ of }) => of === 'best')?.points ?? [];
  const line = (
    name: string,
    color: string,
    of: (point: (typeof points)[number]) => number | null,
    yAxisIndex: number,
  ): object => ({
    ...{ name, type: 'line', yAxisIndex, lineStyle: { color }, itemStyle: { color } },
    data: points.map((point) => ({
      value: of(point),
      symbol: point.chosen ? 'pin' : 'circle',
      symbolSize: point.chosen ? 18 : 8,
    })),
  });
  // Where one parameter is the load, its name stands below the axis once.
  const [name = ''] = points[0]?.load.split(' ') ?? [];
  const isOne = points.every(({ load }) => load.startsWith(`${name} `) && !load.includes(','));
  return {
    ...frame(looks),
    grid: { left: 64, right: 64, top: 36, bottom: 64 },
    tooltip: { ...(frame(looks).tooltip as object), trigger: 'axis' },
    xAxis: {
      type: 'category',
      ...(isOne ? { name, nameLocation: 'middle', nameGap: 32, nameTextStyle: { color: looks.ink } } : {}),
      data: points.map(({ load }) => (isOne ? load.slice(name.length + 1) : load)),
      axisLabel: { color: looks.ink, interval: 0, width: 110, overflow: 'break' },
    },
    yAxis: [
      axis('output tokens/s', looks, { nameGap: 46, min: 0 }),
      axis('ms', looks, { nameGap: 40, min: 0, splitLine: { show: false } }),
    ],
    series: [
      line('throughput', looks.best, ({ speed }) => speed, 0),
      line('TTFT', looks.base, ({ ttft_ms }) => ttft_ms, 1),
      line('TPOT', looks.good, ({ tpot_ms }) => tpot_ms, 1),
    ],
  };
}

export function importances({ importance }: ReportModel, looks: Looks): EChartsOption {
  const rows = [...importance].reverse();
  return {
    ...frame(looks),
    legend: { show: false },
    grid: { left: 12, right: 40, top: 8, bottom: 40, containLabel: true },
    tooltip: { ...(frame(looks).tooltip as object), trigger: 'item' },
    xAxis: axis('share of the variance', looks, { min: 0, max: 1 }),
    yAxis: { type: 'category', data: rows.map(({ name }) => name), axisLabel: { color: looks.ink } },
    series: [
      {
        type: 'bar',
        barMaxWidth: 20,
        data: rows.map(({ share }) => share),
        itemStyle: { color: looks.best },
      },
    ],
  };
}

export function failures(model: ReportModel, looks: Looks): EChartsOption {
  const rows = [...model.failures].reverse();
  const colour = (blame: string): string => (blame === 'params' ? looks.outside : looks.bad);
  return {
    ...frame(looks),
    legend: { show: false },
    grid: { left: 12, right: 40, top: 8, bottom: 40, containLabel: true },
    xAxis: axis('how often', looks, { min: 0, minInterval: 1 }),
    yAxis: {
      type: 'category',
      data: rows.map(({ cause, blame }) => `${cause} (${blame})`),
      axisLabel: { color: looks.ink },
    },
    series: [
      {
        type: 'bar',
        barMaxWidth: 20,
        data: rows.map(({ count, blame }) => ({ value: count, itemStyle: { color: colour(blame) } })),
      },
    ],
  };
}

export function finalists(model: ReportModel, looks: Looks): EChartsOption {
  const rows = model.finalists.map(({ trial, is }) =>
    is === 'other' ? `trial ${trial}` : `${is}${is === 'present' ? '' : ` (${trial})`}`,
  );
  return {
    ...frame(looks),
    xAxis: { type: 'category', data: rows, axisLabel: { color: looks.ink, interval: 0 } },
    yAxis: axis('output tokens/s', looks, { nameGap: 46 }),
    series: [
      {
        name: 'first',
        type: 'scatter',
        symbol: 'emptyDiamond',
        symbolSize: 12,
        itemStyle: { color: looks.faint },
        data: model.finalists.flatMap(({ first }, index) => (first === null ? [] : [[rows[index], first]])),
      },
      {
        name: 'again',
        type: 'scatter',
        symbolSize: 9,
        itemStyle: { color: looks.best, opacity: 0.7 },
        data: model.finalists.flatMap(({ again }, index) => again.map((speed) => [rows[index], speed])),
      },
      {
        name: 'mean of as many new ones, 95 %',
        type: 'custom',
        itemStyle: { color: looks.ink },
        data: model.finalists.flatMap(({ interval }, index) =>
          interval === null ? [] : [[index, interval.low, interval.high]],
        ),
        encode: { x: 0, y: [1, 2] },
        renderItem: (_params: unknown, api: { value(i: number): number; coord(p: number[]): number[] }) => {
          const [x = 0, low = 0] = api.coord([api.value(0), api.value(1)]);
          const [, high = 0] = api.coord([api.value(0), api.value(2)]);
          const style = { stroke: looks.ink, lineWidth: 1.5 };
          const bar = (x1: number, y1: number, x2: number, y2: number): object => ({
            ...{ type: 'line', shape: { x1, y1, x2, y2 }, style },
          });
          return {
            type: 'group',
            children: [
              bar(x + 14, low, x + 14, high),
              bar(x + 9, low, x + 19, low),
              bar(x + 9, high, x + 19, high),
            ],
          };
        },
      },
    ],
  } as EChartsOption;
}
