import type { EChartsOption } from './echarts.ts';

/** Colours that tell apart also for who cannot see red or green; from the page's style, so that dark mode is one. */
export interface Looks {
  readonly ink: string;
  readonly faint: string;
  readonly paper: string;
  readonly good: string;
  readonly outside: string;
  readonly bad: string;
  readonly best: string;
  readonly base: string;
}

export function looksNow(): Looks {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    ...{ ink: of('ink'), faint: of('faint'), paper: of('paper'), good: of('good') },
    ...{ outside: of('outside'), bad: of('bad'), best: of('best'), base: of('base') },
  };
}

export const number = (value: number | null | undefined, digits = 4): string =>
  value === null || value === undefined ? '–' : String(Number(value.toPrecision(digits)));

/** `1:02:03`, or `2:03`. */
export function clock(seconds: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

/** An axis of numbers with its name. */
export function axis(name: string, { ink, faint }: Looks, more: object = {}): object {
  return {
    type: 'value',
    name,
    nameLocation: 'middle',
    nameGap: 34,
    nameTextStyle: { color: ink },
    axisLabel: { color: ink, hideOverlap: true },
    axisLine: { lineStyle: { color: faint } },
    splitLine: { lineStyle: { color: faint, opacity: 0.35 } },
    scale: true,
    ...more,
  };
}

/** What all charts share. Tooltips are text, never HTML: host names and errors are somebody else's. */
export function frame({ ink, paper, faint }: Looks): EChartsOption {
  return {
    animation: false,
    textStyle: { color: ink, fontFamily: 'system-ui, sans-serif' },
    tooltip: {
      renderMode: 'richText',
      backgroundColor: paper,
      borderColor: faint,
      textStyle: { color: ink },
      confine: true,
    },
    // All of it at once: paper has no pager.
    legend: { textStyle: { color: ink }, top: 0, type: 'plain', itemGap: 8, itemWidth: 18 },
    grid: { left: 64, right: 28, top: 60, bottom: 52 },
  };
}

/** The limit as a dashed line, and what is within it shaded. */
export function limit(value: number | null, { good, ink }: Looks): object {
  if (value === null) return {};
  return {
    markLine: {
      silent: true,
      symbol: 'none',
      lineStyle: { type: 'dashed', color: ink },
      label: { formatter: 'SLO', color: ink },
      data: [{ xAxis: value }],
    },
    markArea: {
      silent: true,
      itemStyle: { color: good, opacity: 0.08 },
      data: [[{ xAxis: 0 }, { xAxis: value }]],
    },
  };
}
