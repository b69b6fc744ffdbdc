import type { FitnessSettings } from '../core/fitness/fitness.ts';
import type { JournalEntry } from '../parallel/records.ts';
import { comparisonRows, type ScoredStatistics } from './comparison.ts';
import { charts } from './chart-list.ts';
import { evidenceLines } from './evidence.ts';
import { embedded, html, type Html } from './html.ts';
import { reportModel, type ReportModel } from './model.ts';
import type { Summary } from './summary.ts';
import { cautions, headline, tally, trustLines, valueCell } from './text.ts';
import { deviceHours } from './timeline.ts';

/** How one node of the recommended service is started. */
export interface LaunchCommand {
  readonly host: string;
  readonly role: string;
  readonly command: string;
}

export interface ReportInput {
  readonly entries: readonly JournalEntry[];
  readonly summary: Summary;
  /** Still going on, as far as the journal says: the page asks for itself again. */
  readonly isRunning: boolean;
  readonly slos: FitnessSettings;
  readonly scored: ScoredStatistics;
  /** Of the recommendation; empty where there is none. */
  readonly launch: readonly LaunchCommand[];
  /** What the run was made with, by name. */
  readonly setting: readonly (readonly [string, string])[];
  /** Log tails of trials that failed, by trial. */
  readonly logs: Readonly<Record<number, string>>;
  /** How services of trials were started, by trial, as far as there is room. */
  readonly plans: Readonly<Record<number, string>>;
  /** The page's own program and looks. */
  readonly script: string;
  readonly style: string;
}

const paragraphs = (lines: readonly string[]): Html[] => lines.map((line) => html`<p>${line}</p>`);

function comparisonTable({ summary, slos, scored }: ReportInput): Html {
  if (summary.best === null && summary.closest === null) return html``;
  const [head, ...rows] = comparisonRows(summary, slos, scored);
  if (head === undefined) return html``;
  const cells = (row: typeof head): string[] => [row.baseline, row.best, row.slo, row.spare];
  return html`<table class="numbers">
    <thead>
      <tr>
        <th></th>
        ${cells(head).map((cell) => html`<th>${cell}</th>`)}
      </tr>
    </thead>
    <tbody>
      ${rows.map(
        (row) =>
          html`<tr>
            <th>${row.name}</th>
            ${cells(row).map((cell) => html`<td>${cell}</td>`)}
          </tr>`,
      )}
    </tbody>
  </table>`;
}

function parameterTable({ baseline, best, closest }: Summary): Html {
  const shown = best ?? closest;
  if (shown === null) return html``;
  const rows = Object.entries(shown.params).map(([name, value]) => {
    const before = baseline?.params[name];
    const isChanged = before !== undefined && before !== value;
    return html`<tr class="${isChanged ? 'changed' : ''}">
      <th>${name}</th>
      <td>${before === undefined ? '–' : valueCell(before)}</td>
      <td>${valueCell(value)}</td>
    </tr>`;
  });
  return html`<table class="numbers">
    <thead>
      <tr>
        <th>parameter</th>
        <th>present</th>
        <th>${best === null ? 'closest' : 'recommended'}</th>
      </tr>
    </thead>
    <tbody>
      ${rows}
    </tbody>
  </table>`;
}

function launchList(launch: readonly LaunchCommand[]): Html {
  if (launch.length === 0) return html``;
  return html`<h3>Start it</h3>
    ${launch.map(
      ({ host, role, command }) =>
        html`<div class="command">
          <span>${role} on ${host}</span><button type="button" class="copy">copy</button>
          <pre tabindex="0">${command}</pre>
        </div>`,
    )}`;
}

function perAccelerator({ best }: Summary, { groups }: ReportModel): string[] {
  const devices = groups.find(({ id }) => id === best?.group_id)?.devices ?? null;
  const speed = best?.performance.generate_speed ?? null;
  if (devices === null || devices === 0 || speed === null) return [];
  return [`${(speed / devices).toFixed(1)} tok/s per accelerator, on ${devices} of them.`];
}

function hoursText({ groups, spans }: ReportModel): string[] {
  const hours = deviceHours(spans, new Map(groups.map(({ id, devices }) => [id, devices ?? undefined])));
  if (hours === undefined) return [];
  const { spent, idle, failed } = hours;
  const share = (part: number): string => `${((100 * part) / Math.max(spent, 1e-9)).toFixed(0)} %`;
  return [
    `${spent.toPrecision(3)} accelerator-hours: ${share(idle)} of them idle, ${share(failed)} spent on what could not be served.`,
  ];
}

function chartSections(model: ReportModel): Html[] {
  return charts(model).map(
    ({ id, title, says }) =>
      html`<section class="chart">
        <h2>${title}</h2>
        <p class="says">${says}</p>
        ${
          id === 'convergence'
            ? html`<label class="choose"><input type="checkbox" id="over-time" /> over time</label>`
            : ''
        }
        ${
          id === 'response'
            ? html`<label class="choose"
                >parameter
                <select id="response-field"></select
              ></label>`
            : ''
        }
        <div id="${id}" role="img" aria-label="${title}. ${says}"></div>
      </section>`,
  );
}

/** report.html: one file that opens anywhere, without a network. */
export function reportDocument(input: ReportInput): string {
  const { entries, summary, slos, isRunning } = input;
  const model = reportModel(entries, summary, slos, input.scored);
  const state = isRunning ? 'running, or ended without a word' : summary.status;
  const page = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta
          http-equiv="Content-Security-Policy"
          content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'"
        />
        <title>optimizer: ${summary.run_id}</title>
        <style>
          ${{ html: input.style }}
        </style>
      </head>
      <body data-running="${String(isRunning)}">
        <header>
          <p class="run">
            optimizer · run ${summary.run_id} · ${summary.engine}, ${summary.benchmark} · ${state} ·
            ${summary.started_at.slice(0, 16).replace('T', ' ')} UTC
          </p>
          <h1>${headline(summary, slos).split('\n')[0] ?? ''}</h1>
        </header>
        <main>
          <div class="verdict">
            <div>
              ${paragraphs([
                ...headline(summary, slos).split('\n').slice(1),
                ...perAccelerator(summary, model),
                ...trustLines(summary, slos),
              ])}
              ${comparisonTable(input)} ${paragraphs(cautions(summary))}
              ${paragraphs([...evidenceLines(entries, summary, slos), tally(summary), ...hoursText(model)])}
            </div>
            <div>${parameterTable(summary)} ${launchList(input.launch)}</div>
          </div>
          ${
            summary.error === null
              ? html``
              : html`<p class="error">${summary.error.message} → ${summary.error.remedy}</p>`
          }
          <div class="charts">${chartSections(model)}</div>
          <section>
            <h2>Trials</h2>
            <p class="says" id="chosen" role="status"></p>
            <div id="trials"></div>
          </section>
          <section>
            <h2>Where this holds</h2>
            <dl>
              ${input.setting.map(
                ([name, value]) =>
                  html`<dt>${name}</dt>
                    <dd>${value}</dd>`,
              )}
            </dl>
          </section>
        </main>
        <script type="application/json" id="model">
          ${embedded({ ...model, logs: input.logs, plans: input.plans })}
        </script>
        <script>
          ${{ html: input.script }};
        </script>
      </body>
    </html>`;
  return `${page.html}\n`;
}
