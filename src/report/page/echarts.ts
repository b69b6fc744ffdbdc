import { BarChart, CustomChart, LineChart, ParallelChart, ScatterChart } from 'echarts/charts';
import {
  AriaComponent,
  DataZoomComponent,
  GridComponent,
  LegendComponent,
  MarkAreaComponent,
  MarkLineComponent,
  ParallelComponent,
  TooltipComponent,
} from 'echarts/components';
import { use } from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';

use([
  ...[BarChart, CustomChart, LineChart, ParallelChart, ScatterChart, CanvasRenderer],
  ...[AriaComponent, DataZoomComponent, GridComponent, LegendComponent, MarkAreaComponent],
  ...[MarkLineComponent, ParallelComponent, TooltipComponent],
]);

export { init } from 'echarts/core';
export type { EChartsType } from 'echarts/core';
export type { EChartsOption } from 'echarts';
