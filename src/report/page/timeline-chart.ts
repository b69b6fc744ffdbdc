import type { ReportModel } from '../model.ts';
import type { Span } from '../timeline.ts';
import type { EChartsOption } from './echarts.ts';
import { axis, clock, frame, number, type Looks } from './looks.ts';

const kinds = ['start', 'benchmark', 'failed', 'quarantined'] as const;

interface DrawApi {
  value(dimension: number): number;
  coord(point: readonly number[]): [number, number];
  size(size: readonly number[]): [number, number];
}

export function timeline(model: ReportModel, looks: Looks): EChartsOption {
  const order = model.groups.map(({ id }) => id);
  const colour: Record<Span['kind'], string> = {
    start: looks.outside,
    benchmark: looks.good,
    failed: looks.bad,
    quarantined: looks.faint,
  };
  const label = {
    start: 'starting',
    benchmark: 'benchmark',
    failed: 'came to nothing',
    quarantined: 'quarantined',
  };
  return {
    ...frame(looks),
    tooltip: {
      ...(frame(looks).tooltip as object),
      formatter: (params: unknown) => {
        const { value, seriesName } = params as { value: number[]; seriesName: string };
        const [row = 0, from = 0, to = 0, trial = -1] = value;
        const group = model.groups[row];
        return [
          `group ${group?.id ?? row}: ${group?.hosts.join(', ').slice(0, 80) ?? ''}`,
          `${trial < 0 ? '' : `trial ${trial}, `}${seriesName}`,
          `${clock(from)} to ${clock(to)} (${number(to - from, 3)} s)`,
        ].join('\n');
      },
    },
    dataZoom: [{ type: 'inside', xAxisIndex: 0, filterMode: 'weakFilter' }],
    grid: { left: 80, right: 28, top: 36, bottom: 52 },
    xAxis: axis('time since the start', looks, {
      min: 0,
      scale: false,
      axisLabel: { color: looks.ink, formatter: clock, hideOverlap: true },
    }),
    yAxis: {
      type: 'category',
      data: order.map((id) => `group ${id}`),
      inverse: true,
      axisLabel: { color: looks.ink },
    },
    series: kinds.map((kind) => ({
      name: label[kind],
      type: 'custom',
      itemStyle: { color: colour[kind] },
      encode: { x: [1, 2], y: 0 },
      data: model.spans
        .filter((span) => span.kind === kind)
        .map(({ group, from_s, to_s, trial }) => [order.indexOf(group), from_s, to_s, trial ?? -1]),
      renderItem: (_params: unknown, api: DrawApi) => {
        const [x, y] = api.coord([api.value(1), api.value(0)]);
        const [end] = api.coord([api.value(2), api.value(0)]);
        const height = Math.min(22, api.size([0, 1])[1] * 0.7);
        return {
          type: 'rect',
          shape: { x, y: y - height / 2, width: Math.max(1, end - x - 0.5), height },
          style: { fill: colour[kind] },
        };
      },
    })),
  } as EChartsOption;
}
