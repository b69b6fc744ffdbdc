import { init, type EChartsOption, type EChartsType } from './echarts.ts';
import { looksNow, type Looks } from './looks.ts';
import { failures, finalists, importances, knee, loadSearch } from './run-charts.ts';
import { timeline } from './timeline-chart.ts';
import { inParallel, parallel } from './parallel-chart.ts';
import { convergence, latencyChart, pairChart, response } from './trial-charts.ts';
import { TrialTable, type PageModel } from './trial-table.ts';

/** The program of report.html: draws the charts and the table from the data in the page. */

const byId = (id: string): HTMLElement | null => document.getElementById(id);
const model = JSON.parse(byId('model')?.textContent ?? '') as PageModel;

const overTime = byId('over-time') as HTMLInputElement | null;
const responseField = byId('response-field') as HTMLSelectElement | null;

const options: Readonly<Record<string, (looks: Looks) => EChartsOption>> = {
  knee: (looks) => knee(model, looks),
  convergence: (looks) => convergence(model, looks, overTime?.checked ?? false),
  ttft: (looks) => latencyChart(model, looks, 'ttft_ms'),
  tpot: (looks) => latencyChart(model, looks, 'tpot_ms'),
  pair: (looks) => pairChart(model, looks),
  parallel: (looks) => parallel(model, looks),
  importance: (looks) => importances(model, looks),
  response: (looks) => response(model, looks, Number(responseField?.value ?? 0)),
  load: (looks) => loadSearch(model, looks),
  finalists: (looks) => finalists(model, looks),
  timeline: (looks) => timeline(model, looks),
  failures: (looks) => failures(model, looks),
};

const charts = new Map<string, EChartsType>();

/** Rows need room: a chart of many groups is higher. */
function heightOf(id: string): number {
  const rows = { timeline: model.groups.length, importance: model.importance.length };
  const count = rows[id as keyof typeof rows] as number | undefined;
  return count === undefined ? 320 : Math.min(900, Math.max(220, 100 + count * 24));
}

function draw(id: string): void {
  const place = byId(id);
  const option = options[id];
  if (place === null || option === undefined) return;
  place.style.height = `${heightOf(id)}px`;
  const chart = charts.get(id) ?? init(place);
  charts.set(id, chart);
  chart.setOption(option(looksNow()), true);
}

const drawAll = (): void => Object.keys(options).forEach(draw);

/** When nobody waits for anything else; not every browser knows such times. */
function whenIdle(work: () => void): void {
  if ('requestIdleCallback' in globalThis) requestIdleCallback(work, { timeout: 1000 });
  else setTimeout(work);
}

/** One after the other, so that the page answers while many trials are painted. */
function drawInTurn(ids: readonly string[], done: () => void): void {
  const [first, ...rest] = ids;
  if (first === undefined) {
    done();
    return;
  }
  draw(first);
  whenIdle(() => drawInTurn(rest, done));
}

function fillFields(): void {
  model.fields.forEach(({ name }, index) => {
    const option = document.createElement('option');
    option.value = String(index);
    option.textContent = name;
    responseField?.append(option);
  });
  const [most] = model.importance;
  const first = model.fields.findIndex(({ name }) => name === most?.name);
  if (responseField !== null && first > 0) responseField.value = String(first);
}

/** Choosing along the axes of the parallel coordinates filters the table. */
function connectBrush(table: TrialTable): void {
  const chart = charts.get('parallel');
  const told = byId('chosen');
  const shown = inParallel(model);
  chart?.on('axisareaselected', () => {
    const series = (
      chart as unknown as {
        getModel(): { getSeriesByIndex(i: number): { getRawIndicesByActiveState(state: string): number[] } };
      }
    )
      .getModel()
      .getSeriesByIndex(0);
    const active = series.getRawIndicesByActiveState('active');
    const isAll = active.length === 0 && series.getRawIndicesByActiveState('normal').length > 0;
    const chosen = isAll ? model.trials : active.flatMap((index) => shown[index] ?? []);
    table.show(chosen);
    if (told !== null)
      told.textContent = isAll ? '' : `${chosen.length} of ${model.trials.length} chosen above`;
  });
}

async function copy(button: HTMLButtonElement): Promise<void> {
  const text = button.parentElement?.querySelector('pre')?.textContent ?? '';
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A file has no clipboard in some browsers: choose the text, so that a key copies it.
    const pre = button.parentElement?.querySelector('pre');
    if (pre) getSelection()?.selectAllChildren(pre);
    button.textContent = 'press Ctrl-C';
    return;
  }
  button.textContent = 'copied';
}

/** While the run goes on the page asks for itself again, and stays where its reader is. */
function refreshWhileRunning(): void {
  const key = `optimizer ${document.title}`;
  scrollTo(0, Number(sessionStorage.getItem(key) ?? 0));
  if (document.body.dataset['running'] !== 'true') return;
  setTimeout(() => {
    sessionStorage.setItem(key, String(scrollY));
    location.reload();
  }, 10_000);
}

const place = byId('trials');
fillFields();
const table = place === null ? undefined : new TrialTable(model, place);
overTime?.addEventListener('change', () => draw('convergence'));
responseField?.addEventListener('change', () => draw('response'));
for (const button of document.querySelectorAll<HTMLButtonElement>('button.copy'))
  button.addEventListener('click', () => void copy(button));
const resize = (): void => charts.forEach((chart) => chart.resize());
addEventListener('resize', resize);
addEventListener('beforeprint', resize);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawAll);
matchMedia('print').addEventListener('change', drawAll);
refreshWhileRunning();
setTimeout(() =>
  drawInTurn(Object.keys(options), () => {
    if (table !== undefined) connectBrush(table);
    document.body.dataset['drawn'] = 'true';
  }),
);
document.body.dataset['ready'] = 'true';
