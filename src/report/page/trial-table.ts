import type { ReportModel } from '../model.ts';
import type { Mark, ReportTrial } from '../trial-rows.ts';
import { clock, number } from './looks.ts';

/** The table of trials: sorted by any column, each line opens to all that is known of it. */

type Cell = number | string | null;

interface Column {
  readonly name: string;
  readonly of: (trial: ReportTrial) => Cell;
  readonly shown?: (trial: ReportTrial) => string;
}

/** The model, and what of the run's files has a place in the page: by trial. */
export type PageModel = ReportModel & {
  readonly logs: Readonly<Record<number, string>>;
  readonly plans: Readonly<Record<number, string>>;
};

/** So many at once; a button shows more. */
const page = 100;

function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  text: string,
  ...children: readonly Node[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function columnsOf({ fields, names }: ReportModel): Column[] {
  const measured = (name: string, of: (trial: ReportTrial) => number | null): Column => ({
    ...{ name, of, shown: (trial) => number(of(trial)) },
  });
  return [
    { name: 'trial', of: ({ id }) => id },
    { name: 'group', of: ({ group }) => group },
    { name: 'outcome', of: ({ outcome }) => outcome },
    measured('tokens/s', ({ speed }) => speed),
    measured(names.ttft_ms, ({ ttft_ms }) => ttft_ms),
    measured(names.tpot_ms, ({ tpot_ms }) => tpot_ms),
    measured('success', ({ success }) => success),
    measured('cost', ({ cost }) => cost),
    { name: 'ended', of: ({ at_s }) => at_s, shown: ({ at_s }) => clock(at_s) },
    ...fields.map(({ name }, index): Column => {
      const of = ({ params }: ReportTrial): Cell => {
        const value = params[index] ?? null;
        return typeof value === 'boolean' ? String(value) : value;
      };
      return { name, of };
    }),
  ];
}

/** What is absent comes last, whichever way it is sorted. */
function order(of: Column['of'], direction: number): (a: ReportTrial, b: ReportTrial) => number {
  return (a, b) => {
    const [x, y] = [of(a), of(b)];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    return (
      direction *
      (typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y)))
    );
  };
}

function details(trial: ReportTrial, { fields, logs, plans }: PageModel): HTMLElement {
  const [log, plan] = [logs[trial.id], plans[trial.id]];
  const list = document.createElement('dl');
  const add = (name: string, value: string): void => {
    list.append(element('dt', name), element('dd', value));
  };
  add('start', `${number(trial.start_s)} s`);
  add('benchmarks', `${number(trial.benchmark_s)} s`);
  add('kind', trial.origin);
  fields.forEach(({ name }, index) => add(name, String(trial.params[index] ?? '–')));
  if (trial.more.length > 0) add('latencies', trial.more.join('\n'));
  if (trial.note !== '') add('note', trial.note);
  const all = element('div', '', list);
  if (plan !== undefined) all.append(element('h4', 'started with'), element('pre', plan));
  if (log !== undefined) all.append(element('h4', 'last lines of its service'), element('pre', log));
  // A simulation keeps none.
  if (Object.keys(plans).length > 0)
    all.append(element('p', `its files: trials/${trial.id}/ (plan, service log, output of the benchmark)`));
  return all;
}

export class TrialTable {
  readonly #model: PageModel;
  readonly #root: HTMLElement;
  readonly #columns: readonly Column[];
  #chosen: readonly ReportTrial[];
  #column = 0;
  #direction = 1;
  #limit = page;

  constructor(model: PageModel, root: HTMLElement) {
    this.#model = model;
    this.#root = root;
    this.#columns = columnsOf(model);
    this.#chosen = model.trials;
    this.#paint();
  }

  show(chosen: readonly ReportTrial[]): void {
    this.#chosen = chosen;
    this.#limit = page;
    this.#paint();
  }

  #sortBy(index: number): void {
    this.#direction = this.#column === index ? -this.#direction : 1;
    this.#column = index;
    this.#paint();
    this.#root.querySelectorAll<HTMLElement>('th button')[index]?.focus();
  }

  #head(): HTMLElement {
    const row = document.createElement('tr');
    this.#columns.forEach(({ name }, index) => {
      const button = element('button', name);
      button.type = 'button';
      button.addEventListener('click', () => this.#sortBy(index));
      const cell = element('th', '', button);
      cell.scope = 'col';
      const isSorted = index === this.#column;
      cell.ariaSort = isSorted ? (this.#direction > 0 ? 'ascending' : 'descending') : 'none';
      row.append(cell);
    });
    return element('thead', '', row);
  }

  #row(trial: ReportTrial): HTMLElement {
    const row = document.createElement('tr');
    row.className = trial.outcome;
    this.#columns.forEach(({ of, shown }, index) => {
      const text = shown?.(trial) ?? String(of(trial) ?? '–');
      if (index > 0) {
        row.append(element('td', text));
        return;
      }
      const button = element('button', text);
      button.type = 'button';
      button.ariaExpanded = 'false';
      button.addEventListener('click', () => this.#toggle(row, button, trial));
      const { recommended, present } = this.#model;
      const name = (mark: Mark | null, is: string): string =>
        mark?.trial === trial.id ? ` ${is}${mark.isItsTrial ? '' : ', at another load'}` : '';
      const said = name(recommended, 'recommended') || name(present, 'present');
      row.append(element('td', '', button, ...(said === '' ? [] : [element('em', said)])));
    });
    return row;
  }

  #toggle(row: HTMLElement, button: HTMLElement, trial: ReportTrial): void {
    const isOpen = button.ariaExpanded === 'true';
    button.ariaExpanded = String(!isOpen);
    if (isOpen) {
      row.nextElementSibling?.remove();
      return;
    }
    const cell = element('td', '', details(trial, this.#model));
    cell.colSpan = this.#columns.length;
    const opened = element('tr', '', cell);
    opened.className = 'details';
    row.after(opened);
  }

  #paint(): void {
    const column = this.#columns[this.#column];
    const sorted =
      column === undefined ? this.#chosen : [...this.#chosen].sort(order(column.of, this.#direction));
    const body = element('tbody', '', ...sorted.slice(0, this.#limit).map((trial) => this.#row(trial)));
    const scroll = element('div', '', element('table', '', this.#head(), body));
    scroll.className = 'scroll';
    scroll.tabIndex = 0;
    scroll.role = 'region';
    scroll.ariaLabel = 'trials';
    const left = sorted.length - this.#limit;
    const more = element('button', `show ${Math.min(left, 10 * page)} more of ${left}`);
    more.type = 'button';
    more.addEventListener('click', () => {
      this.#limit += 10 * page;
      this.#paint();
    });
    this.#root.replaceChildren(scroll, ...(left > 0 ? [more] : []));
  }
}
