import type { ReportModel } from '../model.ts';
import type { ReportTrial } from '../trial-rows.ts';
import type { EChartsOption } from './echarts.ts';
import { frame, type Looks } from './looks.ts';
import { own } from './trial-charts.ts';

/** Which trials it shows, in the order of its lines. */
export const inParallel = (model: ReportModel): readonly ReportTrial[] =>
  own(model).filter(({ speed, origin }) => speed !== null && origin !== 'confirms');

export function parallel(model: ReportModel, looks: Looks): EChartsOption {
  const shown = inParallel(model);
  const label = { color: looks.ink };
  const line = { lineStyle: { color: looks.faint } };
  const ends = ['output tokens/s', 'TTFT, ms', 'TPOT, ms'];
  const one = (name: string, dim: number, more: object): object => ({
    ...{
      dim,
      name,
      nameTextStyle: label,
      axisLabel: label,
      axisLine: line,
      nameRotate: 18,
      nameTruncate: { maxWidth: 170 },
    },
    ...more,
  });
  return {
    ...frame(looks),
    legend: { show: false },
    parallel: {
      left: 60,
      right: 60,
      top: 70,
      bottom: 24,
      parallelAxisDefault: { areaSelectStyle: { color: looks.best, borderColor: looks.best, opacity: 0.25 } },
    },
    parallelAxis: [
      ...model.fields.map(({ name, kind, log }, dim) =>
        one(
          name,
          dim,
          kind === 'category'
            ? { type: 'category', data: [...new Set(shown.map(({ params }) => String(params[dim])))].sort() }
            : { type: log ? 'log' : 'value', scale: true },
        ),
      ),
      ...ends.map((name, i) => one(name, model.fields.length + i, { type: 'value', scale: true })),
    ],
    series: [
      {
        type: 'parallel',
        lineStyle: { width: 1, opacity: 0.4 },
        inactiveOpacity: 0.03,
        progressive: 500,
        data: shown.map((trial) => ({
          value: [
            ...trial.params.map((value, i) =>
              model.fields[i]?.kind === 'category' ? String(value) : (value as number),
            ),
            ...[trial.speed, trial.ttft_ms, trial.tpot_ms].map((value) => value ?? '-'),
          ],
          lineStyle: { color: trial.outcome === 'feasible' ? looks.good : looks.outside },
        })),
      },
    ],
  };
}
